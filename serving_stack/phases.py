"""Where the time to the first 200 goes, beside the previous release's archive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from serving_stack.cells import Archive, alone, as_before
from serving_stack.starts import Ran, run

_ROUNDS = 3
_GOAL = 0.5
_IMPORT = re.compile(r"import time:\s+(\d+) \|")


@dataclass(frozen=True)
class Phase:
    """A part of a start: its seconds, and how many of them went into imports of the image's own processes."""

    name: str
    seconds: float
    importing: float


def phases_of(ran: Ran) -> list[Phase]:
    """Return the parts of a start that came to its first 200, by what the log says when."""
    marks = [0.0]
    for said in ("Installing module with", "Starting gunicorn", "Booting worker", "loaded the model"):
        at = [when for when, line in ran.log if said in line]
        marks.append(at[-1] if at else marks[-1])
    installed = [when for when, line in ran.log if "Successfully installed" in line]
    marks.insert(2, installed[-1])
    marks.append(ran.seconds or 0.0)
    names = (
        "serve, to pip",
        "pip install .",
        "the code's first import, gunicorn",
        "to the worker",
        "the worker's imports, the model",
        "the answer",
    )
    imports = [
        (when, int(found[1]) / 1e6) for when, line in ran.log if (found := _IMPORT.match(line)) is not None
    ]
    return [
        Phase(name, end - begin, sum(took for when, took in imports if begin <= when < end))
        for name, begin, end in zip(names, marks, marks[1:], strict=False)
    ]


def print_phases(today: Ran, before: Ran) -> tuple[float, float]:
    """Print where the time to the first 200 goes, beside that of the previous archive; the rests, in
    seconds."""
    rests = (0.0, 0.0)
    print(
        "\nTo the first 200, as root, without a network, in seconds; in brackets what of it isn't an import:"
    )
    print(f"{'':36}{'today':>16}{'previous release':>20}")
    for mine, theirs in zip(phases_of(today), phases_of(before), strict=True):
        rest = (max(0.0, mine.seconds - mine.importing), max(0.0, theirs.seconds - theirs.importing))
        rests = (rests[0] + rest[0], rests[1] + rest[1])
        print(f"{mine.name:36}{mine.seconds:8.2f} ({rest[0]:.2f}){theirs.seconds:12.2f} ({rest[1]:.2f})")
    print(f"{'all but imports':36}{rests[0]:16.2f}{rests[1]:19.2f}   ratio {rests[0] / rests[1]:.2f}")
    return rests


def compare_phases(today: Archive, previous: Archive, stack: Path) -> bool:
    """Start both a few times in turn; whether all but imports takes at most half of what it took."""
    fastest: dict[str, Ran] = {}
    for _ in range(_ROUNDS):
        for cell in (alone(today), as_before(previous)):
            ran = run(cell, stack, [], None)
            if ran.problems or ran.seconds is None:
                raise RuntimeError(f"a start failed: {ran.problems}")
            best = fastest.get(cell.archive.name)
            if best is None or best.seconds is None or ran.seconds < best.seconds:
                fastest[cell.archive.name] = ran
    mine, theirs = print_phases(fastest[today.name], fastest[previous.name])
    return mine <= _GOAL * theirs
