"""Commands that ask really ask, on a terminal, and act on nothing where nobody can be asked."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cli_stack import CONTRACT, WIDER, CliStack, contract_of, keeps_predictions

from dropforge_ops.actions.teardown.names import Names
from dropforge_ops.actions.teardown.tear_down import Teardown
from dropforge_ops.cli.main import app


@dataclass
class Dialogue:
    """What a terminal showed, what went to stdout, and how the command ended."""

    exit_code: int
    shown: str
    out: str


@contextlib.contextmanager
def terminal(question: str, answer: str, shown: list[str]) -> Iterator[None]:
    """stdin and stderr on a terminal, at which somebody answers once the question stands there."""
    master, slave = pty.openpty()

    def sit() -> None:
        answered = False
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(master, 1024):
                shown.append(data.decode(errors="replace"))
                if not answered and question in "".join(shown):
                    os.write(master, f"{answer}\n".encode())
                    answered = True

    person = threading.Thread(target=sit, daemon=True)
    person.start()
    before = sys.stdin, sys.stderr
    sys.stdin, sys.stderr = os.fdopen(slave), os.fdopen(os.dup(slave), "w", buffering=1)
    try:
        yield
    finally:
        for stream in (sys.stdin, sys.stderr):
            stream.close()
        sys.stdin, sys.stderr = before
        person.join(timeout=10)
        os.close(master)


@pytest.fixture
def at_a_terminal(stack, monkeypatch):
    """The command line at a real terminal, pointed at the stack."""
    monkeypatch.setattr("dropforge_ops.cli.invocation.resolve", lambda options: stack.target)

    def run(*arguments: str, question: str, answer: str) -> Dialogue:
        shown: list[str] = []
        out = io.StringIO()
        with terminal(question, answer, shown), contextlib.redirect_stdout(out):
            with pytest.raises(SystemExit) as ended:
                app(list(arguments))
            code = ended.value.code
        return Dialogue(int(code or 0), "".join(shown), out.getvalue())

    return run


def decided(stack: CliStack) -> bool:
    return bool(stack.sagemaker.updates)


def rolled_back(stack: CliStack) -> bool:
    return any("rollback" in arn for arn in stack.sfn.executions)


@pytest.mark.parametrize(("command", "status"), [("approve", "Approved"), ("reject", "Rejected")])
def test_a_decision_is_asked_for(stack, at_a_terminal, command, status):
    stack.trained(1)
    stack.apply_decisions(deploys=False)
    question = f"{command.title()} version 1?"
    no = at_a_terminal(command, "1", question=question, answer="n")
    assert (no.exit_code, decided(stack)) == (1, False), no.shown
    assert "0.9" in no.shown.partition(question)[0], "the metrics stand above the question"
    yes = at_a_terminal(command, "1", question=question, answer="y")
    assert yes.exit_code == 0, yes.shown
    assert [each["ModelApprovalStatus"] for each in stack.sagemaker.updates] == [status]


def test_a_rollback_is_asked_for(stack, at_a_terminal):
    stack.lives(1)
    stack.lives(2)
    no = at_a_terminal("rollback", question="Roll back to version 1?", answer="n")
    assert (no.exit_code, rolled_back(stack)) == (1, False), no.shown
    yes = at_a_terminal("rollback", question="Roll back to version 1?", answer="y")
    assert (yes.exit_code, rolled_back(stack)) == (0, True), yes.shown


def test_accepting_a_contract_is_asked_for(stack, failed, at_a_terminal):
    accepting = ("contract", "accept", failed)
    no = at_a_terminal(*accepting, question="Accept this contract?", answer="n")
    assert (no.exit_code, contract_of(stack) == WIDER) == (1, False), no.shown
    yes = at_a_terminal(*accepting, question="Accept this contract?", answer="y")
    assert (yes.exit_code, contract_of(stack) == WIDER) == (0, True), yes.shown


def test_forgetting_is_asked_for(stack, at_a_terminal):
    keeps_predictions(stack)
    stack.write("contract/schema.json", CONTRACT.to_json().encode())
    rows = "runs/run-1/labelled/predictions.jsonl"
    stack.write(rows, b'{"id": 17}\n')
    question = "Delete these predictions and prepared rows for good?"
    no = at_a_terminal("forget", "17", question=question, answer="n")
    assert (no.exit_code, stack.holds(rows)) == (1, True), no.shown
    assert "would delete    1  prepared rows" in no.shown
    yes = at_a_terminal("forget", "17", question=question, answer="y")
    assert (yes.exit_code, stack.holds(rows)) == (0, False), yes.shown


def test_a_teardown_wants_the_stacks_name(stack, at_a_terminal, monkeypatch):
    torn_down = []
    names = Names("dropforge", "model", is_deployed=True)
    monkeypatch.setattr("dropforge_ops.cli.commands.teardown.names_of", lambda target, model: names)
    monkeypatch.setattr("dropforge_ops.cli.commands.teardown.what_there_is", lambda target, names: {})
    monkeypatch.setattr(
        "dropforge_ops.cli.commands.teardown.tear_down", lambda *_, **__: torn_down.append(1) or Teardown()
    )
    question = "Type the stack's name to take it away"
    no = at_a_terminal("teardown", question=question, answer="y")
    assert (no.exit_code, torn_down) == (1, []), no.shown
    yes = at_a_terminal("teardown", question=question, answer=stack.target.stack)
    assert (yes.exit_code, torn_down) == (0, [1]), yes.shown


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_without_a_terminal_yes_has_to_be_said(stack, failed, on_stack, more):
    stack.trained(1)
    stack.lives(2)
    stack.lives(3)
    before = contract_of(stack)
    for command in (["approve", "1"], ["reject", "1"], ["rollback"], ["contract", "accept", failed]):
        outcome = on_stack(*command, *more)
        assert outcome.exit_code == 2, command
        assert "give --yes" in outcome.stderr
    assert (decided(stack), rolled_back(stack), contract_of(stack)) == (False, False, before)
