"""The commands in README and docs, run as they stand: on one stack, in a folder as a reader's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests import documented
from tests.command_line import invoke
from tests.documented import HOST, RUN, Block
from tests.workflow.reader import announce_to, run_by_shell
from tests.workflow.stack import Stack

PROJECT = (
    "template.yaml",
    "samconfig.toml",
    "Makefile",
    "core",
    "functions",
    "layers",
    "statemachine",
    "training",
)
# Trains, approves and predicts, so that the others find what their readers have.
FIRST = "README.md"


@pytest.fixture(scope="module")
def folder(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project's folder, for which a host with a stack is announced."""
    stack = stack_of("breast-cancer")
    place = tmp_path_factory.mktemp("reader")
    announce_to(place, stack, PROJECT)
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / "samples").mkdir()
    shutil.copy(samples["breast-cancer"], place / "samples")
    return place


def test_every_command_of_the_docs_does_what_they_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    # A reader sits at a terminal, and agrees where a command asks.
    monkeypatch.setattr("dropforge_ops.cli.invocation.Invocation.asks", True)
    blocks = [*documented.commands_of(HOST), *documented.commands_of(RUN)]
    blocks.sort(key=lambda block: block.page != FIRST)
    ran: set[tuple[str, ...]] = set()
    for block in blocks:
        if block.needs_shell:
            run_by_shell(block.text, folder, where=block)
            continue
        for words in block.commands:
            # What stands on several pages is done once.
            if tuple(words[1:]) not in ran:
                run(block, words)
            ran.add(tuple(words[1:]))
    manifest = json.loads((folder / "results" / "breast-cancer.csv.manifest.json").read_text())
    assert manifest["rows"]["scored"] == 569


def run(block: Block, words: list[str]) -> None:
    """One command, in this process: starting another takes longer than what most do."""
    if Path(words[0]).name != "dropforge":
        subprocess.run(words, check=True, capture_output=True)
        return
    done = invoke(words[1:], input="y\n")
    assert done.exit_code == 0, f"{block}: {' '.join(words)}:\n{done.stdout}\n{done.stderr}\n{done.exception}"
