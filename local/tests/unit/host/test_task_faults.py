from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from dropforge_local.glue.workflow.faults import InvalidRule, Rule, TaskFaults
from dropforge_local.glue.workflow.run import Ended, Run


class TaskError(Exception):
    def __init__(self, name, cause):
        super().__init__(name, cause)
        self.name = name


def an_attempt(state="Work", machine="orders"):
    execution = {"stateMachineArn": f"arn:aws:states:us-east-1:000000000000:stateMachine:{machine}"}
    return SimpleNamespace(state=state, execution=execution, timeout_s=60)


def a_rule(kind, **fields):
    return Rule.from_dict({"machine": "orders", "state": "Work", "kind": kind, **fields})


def calls_of(faults, attempt=None):
    made = []
    try:
        result = faults.around(attempt or an_attempt(), lambda: made.append(1) or len(made))
    except TaskError as error:
        return len(made), error.name
    return len(made), result


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (a_rule("before", error="Denied"), (0, "Denied")),
        (a_rule("after", error="Lost"), (1, "Lost")),
        (a_rule("twice"), (2, 2)),
        (a_rule("hang"), (1, "States.Timeout")),
    ],
)
def test_a_rule_takes_hold_where_the_task_has_its_effect(rule, expected):
    faults = TaskFaults(TaskError)
    faults.set(rule)
    assert calls_of(faults) == expected
    assert calls_of(faults) == (1, 1), "a rule is used up after its times"
    assert faults.rules()[0]["reached"] == 1


def test_other_states_and_machines_are_left_alone():
    faults = TaskFaults(TaskError)
    faults.set(a_rule("before", error="Denied"))
    assert calls_of(faults, an_attempt(state="Rest")) == (1, 1)
    assert calls_of(faults, an_attempt(machine="returns")) == (1, 1)


@pytest.mark.parametrize(("kind", "made"), [("hold_before", 0), ("hold_after", 1)])
def test_a_held_task_goes_on_when_the_rules_are_cleared(kind, made):
    faults, calls, answers = TaskFaults(TaskError), [], []
    faults.set(a_rule(kind))

    def work():
        Run(None).root.enter()
        answers.append(faults.around(an_attempt(), lambda: calls.append(1) or "done"))

    thread = threading.Thread(target=work)
    thread.start()
    reached = threading.Event()
    while not reached.wait(0.001) and not faults.rules()[0]["reached"]:
        pass
    thread.join(timeout=0.05)
    assert (len(calls), answers) == (made, [])
    faults.clear()
    thread.join(timeout=10)
    assert (len(calls), answers) == (1, ["done"])


def test_what_was_held_notices_that_its_execution_has_ended():
    faults, seen = TaskFaults(TaskError), []
    faults.set(a_rule("hold_before"))
    run = Run(None)

    def work():
        run.root.enter()
        try:
            faults.around(an_attempt(), lambda: "done")
        except Ended as ended:
            seen.append(ended)

    thread = threading.Thread(target=work)
    thread.start()
    run.root.end()
    while not faults.rules()[0]["reached"]:
        thread.join(timeout=0.001)
    faults.clear()
    thread.join(timeout=10)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "sideways"},
        {"kind": "before"},
        {"kind": "twice", "times": 0},
        {"kind": "twice", "times": "many"},
        {"kind": "twice", "state": ""},
        {"kind": "twice", "colour": "red"},
    ],
)
def test_refuses_a_rule_that_can_not_be_used(fields):
    with pytest.raises(InvalidRule):
        Rule.from_dict({"machine": "orders", "state": "Work", **fields})
