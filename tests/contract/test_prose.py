"""The lint of prose finds the habits that it names, and nothing in code."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.prose import HABITS, habits_of, main

BAD = {
    "The log tells why it failed.": "tells why",
    "What a month costs\ntells `dropforge cost`; see there.": "tells CODE",
    "Over the limit in 2 of 3 times 5 minutes.": "in 2 of 3 times",
    "Kept for so many days.": "so many days",
    "Deploy the version before.": "the version before",
    "Make the version before live again.": "Make the version before live",
    "It is made anew.": "anew",
    "A column misses significantly more values.": "misses significantly more values",
    "It ends with 1.": "ends with 1",
    "Mend the file.": "Mend",
    "Looking for garbage.": "garbage",
    "Buckets block the public and lists.": "public and lists",
    "Simply drop a file.": "Simply",
    "This allows to retrain.": "allows to retrain",
    "Some informations are missing.": "informations",
    "Nobody knows what for.": "what for",
}


@pytest.mark.parametrize("text", BAD)
def test_a_habit_is_found(text: str) -> None:
    assert BAD[text] in [each.found for each in habits_of(text)]


def test_every_habit_has_an_example_here() -> None:
    found = {each.instead for text in BAD for each in habits_of(text)}
    assert found == set(HABITS.values())


@pytest.mark.parametrize(
    "text",
    [
        "`dropforge cost` shows what a month costs.",
        "`tells why`, and\n```text\nmade anew\n```\n",
        "The version before the change; in two of three 5-minute periods.",
        "It exits with status 1.",
    ],
)
def test_good_prose_and_code_are_left_alone(text: str) -> None:
    assert list(habits_of(text)) == []


def test_a_page_is_named_with_the_line_and_generated_ones_with_their_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Title\n\n```sh\nmend\n```\nMend it.\n")
    (tmp_path / "docs" / "reference" / "cli.md").write_text("Begins anew.\n")
    assert main(tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "README.md:6: 'Mend': write instead: fix"
    assert said[1].startswith("docs/reference/cli.md:1: 'anew'")
    assert said[1].endswith("(written by make docs from code or template.yaml)")
