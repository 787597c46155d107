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


def append(results: list[Result], path: Path = PATH) -> None:
    """Add results; one of the same name and peer is replaced. Safe beside other benchmarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(path.read_text()) if path.exists() else []
        new = {(result.name, result.peer) for result in results}
        kept = [each for each in known if (each["name"], each["peer"]) not in new]
        path.write_text(json.dumps([*kept, *map(asdict, results)], indent=1) + "\n")
