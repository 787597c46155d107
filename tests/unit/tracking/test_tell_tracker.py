"""The ledger is the outbox: a tracker that is down is told later, and an unchanged stack calls nobody."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import BUCKET
from tests.fakes.services import FakeRegistry
from tests.fakes.tracker import FakeTracker
from tests.in_memory_store import InMemoryObjectStore
from tracked_stack import TrackedStack

from dropforge.application import tell_tracker as module
from dropforge.application.tell_tracker import tell_tracker
from dropforge.domain.errors import ServiceUnavailable
from dropforge.domain.records import Approval, Stage

URL = "http://127.0.0.1:5000"


class Stack:
    def __init__(self) -> None:
        self.of = TrackedStack()
        self.of.trained(1)
        self.ledger, self.tracker = FakeLedger(), FakeTracker()
        self.calls = 0

    def tell(self, tracking: str = URL, *, is_down: bool = False) -> Any:
        self.ledger.runs = {each.run_id: each for each in self.of.runs}
        self.ledger.models = {each.version: each for each in self.of.models}

        def tracker() -> FakeTracker:
            self.calls += 1
            if is_down:
                raise ServiceUnavailable("No answer.")
            return self.tracker

        return tell_tracker(
            tracking=tracking,
            model_name="model",
            bucket=BUCKET,
            ledger=self.ledger,
            store=InMemoryObjectStore(self.of.objects),
            registry=FakeRegistry(),
            tracker=tracker,
        )


@pytest.fixture
def stack() -> Stack:
    return Stack()


def test_an_unchanged_stack_asks_no_tracker(stack: Stack) -> None:
    assert stack.tell().new_runs == 1
    assert stack.tell() is None
    assert stack.calls == 1


def test_a_tracker_that_is_down_is_told_all_of_it_later(stack: Stack) -> None:
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            stack.tell(is_down=True)
    stack.of.trained(2)
    assert stack.tell().new_versions == 2


def test_a_decision_is_told(stack: Stack) -> None:
    stack.tell()
    stack.of.decided(1, Approval.APPROVED, Stage.PRODUCTION)
    assert stack.tell().changed_runs == 1
    assert stack.tracker.aliases("model") == {"production": "1"}


def test_another_tracker_is_told_everything(stack: Stack) -> None:
    stack.tell()
    stack.tracker = FakeTracker()
    assert stack.tell("http://127.0.0.1:5001").new_runs == 1


def test_an_archive_that_is_too_large_leaves_the_rest_to_be_seen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_MODEL", 10)
    telling = stack.tell()
    assert (telling.new_runs, telling.models_gone) == (1, 1)
    (run,) = stack.tracker.runs("1")
    assert "at most 10 are sent" in run.tags["dropforge.model"]
