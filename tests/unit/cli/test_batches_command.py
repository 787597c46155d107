"""``dropforge batches``: what each call asks of the stack, and what can't be asked."""

from __future__ import annotations

from typing import Any

import pytest
from cli_services import complete, has_a_source


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("now",), []),
        (("retry", "b.csv"), ["daily/b.csv"]),
        (("retry", "daily/a.csv"), ["daily/a.csv"]),
        (("retry", "--all"), ["daily/b.csv"]),
    ],
)
def test_asks_the_function_for_a_look(stack: Any, on_stack: Any, arguments: Any, keys: Any) -> None:
    asked = has_a_source(stack)
    outcome = on_stack("batches", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    assert asked == [("dropforge-StartBatchesFunction", {"retry": keys})]
    assert "2 wait for the next run" in outcome.stdout


def test_shows_why_a_file_failed(stack: Any, on_stack: Any) -> None:
    has_a_source(stack)
    outcome = on_stack("batches", "--state", "failed")
    assert "EmptyData: no rows" in outcome.stdout
    assert "a.csv" not in outcome.stdout
    assert "dropforge batches retry FILE" in outcome.stdout


def test_a_file_that_was_never_tried_can_not_be_tried_again(stack: Any, on_stack: Any) -> None:
    assert has_a_source(stack) == []
    outcome = on_stack("batches", "retry", "c.csv")
    assert (outcome.exit_code, "No file daily/c.csv" in outcome.stderr) == (3, True)


def test_a_stack_without_a_source_says_how_it_gets_one(stack: Any, on_stack: Any) -> None:
    complete(stack)
    outcome = on_stack("batches")
    assert (outcome.exit_code, "BatchSource=PREFIX/" in outcome.stderr) == (3, True)
