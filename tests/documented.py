"""The commands in README and docs: fenced blocks, marked with how they can be tried.

A block of commands is fenced as ``sh`` and says where it runs:

- ``sh``: anywhere in the project;
- ``sh host``: with a local host that runs for the folder, and a stack for the sample data set;
- ``sh aws``: with an AWS account;
- ``sh example``: in a situation that the text describes, or with files of the reader's;
- ``sh long``: starts something that tests of its own start as well, such as the host itself.

The first two are run as they stand. Of the others every command is parsed: it has to exist, with its options.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN, HOST, AWS, EXAMPLE, LONG = "", "host", "aws", "example", "long"
MARKS = (RUN, HOST, AWS, EXAMPLE, LONG)
LANGUAGES = ("sh", "text", "json", "python", "toml", "yaml")

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
# What a shell would do more with than start a program with words.
_SHELL = re.compile(r"[|<>$`;&]")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def mark(self) -> str:
        return self.info.partition(" ")[2]

    @property
    def needs_shell(self) -> bool:
        return bool(_SHELL.search(self.text))

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = [shlex.split(re.sub(r"\$\(.*\)", "X", line), comments=True) for line in lines]
        return [words for words in found if words]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README, CONTRIBUTING, SECURITY and every page that is written by hand."""
    written = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "how-to").glob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *written]


def blocks() -> Iterator[Block]:
    """Every fenced block of these pages, in order."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            body = textwrap.dedent(found["body"])
            yield Block(str(page.relative_to(ROOT)), line, found["info"].strip(), body)


def named_commands() -> dict[str, str]:
    """The commands that the text of these pages names, each with a page that does."""
    found = {}
    for page in pages():
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for command in re.findall(r"`((?:dropforge|make) [^`]+)`", text):
            found.setdefault(" ".join(command.split()), str(page.relative_to(ROOT)))
    return found


def commands_of(mark: str) -> list[Block]:
    """The blocks of commands with a mark."""
    return [each for each in blocks() if each.language == "sh" and each.mark == mark]
