"""Find the worst habits in what users read: pages, parameters and the help of verbs and commands.

python -m scripts.prose

Each habit is a turn of phrase that a native reader stumbles over, with what to write instead. Code, fenced or
between backquotes, is not prose. The glossary of our words is docs/glossary.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/how-to/*.md",
    "docs/reference/*.md",
)
# Only what shows where the others are read: `make help` prints the comments, CloudFormation the descriptions.
FILES = ("Makefile", "template.yaml")
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HABITS: Mapping[str, str] = {
    r"\btells?\s+(?:which|what|where|why|whether|how)\b": "shows, says",
    r"\b(?:tells?|shows?)\s+CODE(?=[\s;.,]*(?:see\b|$))": "put it first: `dropforge cost` shows what…",
    r"\bin\s+\d+\s+of\s+\d+\s+times\b": "in two of three 5-minute periods",
    r"\bso\s+many\s+(?:seconds|minutes|hours|days|months|years|USD|rows|GB)\b": "this many, or the amount",
    r"\bthe\s+version\s+before\b(?!\s+(?:the|it|that))": "the previous version",
    r"\bmak(?:e|es|ing)\s+the\s+\w+\s+before\s+live\b": "roll back",
    r"\banew\b": "again; recreate",
    r"\bmiss(?:es|ed)\s+(?:significantly\s+)?(?:more|fewer)\s+values\b": "has more missing values",
    r"\bends?\s+with\s+\d\b": "exits with status 1",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bgarbage\b": "say what is looked for: unused models, old versions",
    r"\bpublic\s+and\s+lists\b|\baccess\s+lists\b": "ACLs",
    r"\b(?:simply|obviously|of\s+course|easily)\b": "leave it out",
    r"\ballows?\s+to\s+\w+": "lets you, or makes it possible to",
    r"\b(?:informations|softwares|hardwares|feedbacks|advices)\b": "these words have no plural",
    r"\bwhat\s+for\b(?=[.?;])": "why",
}


@dataclass(frozen=True)
class Habit:
    """A phrase that was found: where, what stands there, what to write instead."""

    path: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        source = " (written by make docs from code or template.yaml)" if "/reference/" in self.path else ""
        return f"{self.path}:{self.line}: '{self.found}': write instead: {self.instead}{source}"


def habits_of(text: str, path: str = "") -> Iterator[Habit]:
    """What is found in a text, by rule.

    >>> [str(each) for each in habits_of("It fails in 2 of 3\\ntimes.", "page.md")]
    ["page.md:1: 'in 2 of 3 times': write instead: in two of three 5-minute periods"]
    """
    prose = _CODE.sub(lambda found: "CODE" + "\n" * found[0].count("\n"), text)
    for pattern, instead in HABITS.items():
        for found in re.finditer(pattern, prose, re.IGNORECASE | re.MULTILINE):
            line = prose.count("\n", 0, found.start()) + 1
            yield Habit(path, line, " ".join(found[0].split()), instead)


def main(root: Path = ROOT) -> int:
    """Print what is found; 1 where anything is."""
    paths = [path for pattern in (*PAGES, *FILES) for path in sorted(root.glob(pattern))]
    found = [
        habit
        for path in paths
        for habit in habits_of(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
    ]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
