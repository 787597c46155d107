"""Keeps results where `make bench` finds them: a JSON list in `.dropforge/bench.json`."""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict, dataclass
from pathlib import Path

PATH = Path(__file__).resolve().parent.parent / ".dropforge" / "bench.json"


@dataclass(frozen=True)
class Result:
    """One figure beside its peer's. `ratio` is ours over the peer's; None without a peer, or if it is 0."""

    name: str
    ours: float
    peer: str | None
    peer_value: float | None
    ratio: float | None
    goal: str
    met: bool

    def __post_init__(self) -> None:
        # Where figures are numpy's, so is what they are compared to, which JSON doesn't know.
        object.__setattr__(self, "met", bool(self.met))

    @classmethod
    def alone(cls, name: str, ours: float, goal: str, met: bool) -> Result:
        """A figure that has no peer."""
        return cls(name, ours, None, None, None, goal, met)

    @property
    def missed(self) -> str:
        """What ends the figure's line where it is printed: nothing if the goal was met."""
        return "" if self.met else "  MISSED"


def append(results: list[Result], path: Path = PATH) -> None:
    """Add results; one of the same name and peer is replaced. Safe beside other benchmarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(path.read_text()) if path.exists() else []
        new = {(result.name, result.peer) for result in results}
        kept = [each for each in known if (each["name"], each["peer"]) not in new]
        path.write_text(json.dumps([*kept, *map(asdict, results)], indent=1) + "\n")


def at_most(name: str, ours: float, peer: str, theirs: float, limit: float) -> Result:
    """Ours beside a peer's, which it may reach that many times."""
    return Result(name, ours, peer, theirs, ours / theirs, f"<= {limit}", ours / theirs <= limit)


def times_less(name: str, ours: float, peer: str, theirs: float, goal: float) -> Result:
    """Ours beside a peer's, which has to be that many times as much."""
    return Result(name, ours, peer, theirs, ours / theirs, f"peer / ours >= {goal:g}", theirs / ours >= goal)


def kept(results: list[Result]) -> int:
    """Keep the results; returns a benchmark's exit code, 0 if every goal was met."""
    append(results)
    return 0 if all(result.met for result in results) else 1
