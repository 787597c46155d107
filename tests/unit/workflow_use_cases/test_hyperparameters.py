"""What runs set for build_model: of the stack, of whoever starts one, and of a replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.records import a_drop, at
from tests.fakes.world import World

from dropforge.domain.drop_life import NEVER
from dropforge.domain.errors import InvalidHyperparameters
from dropforge.domain.hyperparameters import (
    as_text,
    carried,
    declared_in,
    parse_hyperparameters,
    problems_of,
    typed,
)
from dropforge.domain.records import LockName, Run, RunStatus
from dropforge.domain.training_code import TrainingCode

MODEL = Path(__file__).parents[3] / "training" / "model.py"
TAKES = b'HYPERPARAMETERS = {"max_iter": (1, 500), "rate": (0.001, 1.0), "kind": ("a", "b")}\n'


def code(model_py: bytes) -> TrainingCode:
    return TrainingCode({"train.py": b"train", "model.py": model_py})


def by_hand(**hyperparameters):
    return {"trigger": "manual", "hyperparameters": hyperparameters}


@given(st.one_of(st.text(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_value_comes_back_from_sagemaker_as_it_was_given(value):
    back = typed(as_text(value))
    assert (back, type(back)) == (value, type(value))


def test_those_of_the_stack_are_recorded_with_the_run_and_reach_the_job():
    world = World(hyperparameters='{"max_iter": 300, "kind": "a"}', code=code(TAKES))
    admission = world.admit(a_drop(1))
    assert admission.to_dict()["hyperparameters"] == {"max_iter": "300", "kind": "a"}
    [run] = world.ledger.list_runs()
    assert run.hyperparameters == {"max_iter": "300", "kind": "a"}


def test_a_run_by_hand_sets_some_over_the_stacks_and_its_replay_has_the_same():
    world = World(hyperparameters='{"max_iter": 300}', code=code(TAKES))
    first = world.admit(a_drop(1))
    world.close(first, RunStatus.REJECTED_BY_GATE, now=at(5))
    world.end(first.run.execution_arn)
    started = world.admit(by_hand(max_iter=20, rate=0.1), now=at(10))
    assert started.outcome == "admitted"
    assert started.to_dict()["hyperparameters"] == {"max_iter": "20", "rate": "0.1"}
    world.close(started, RunStatus.REJECTED_BY_GATE, now=at(15))
    world.end(started.run.execution_arn)

    world.hyperparameters = '{"max_iter": 7}'
    replay = world.admit({"trigger": "replay", "run_id": started.run.run_id}, now=at(20))
    assert replay.to_dict()["hyperparameters"] == {"max_iter": "20", "rate": "0.1"}


def test_wrong_ones_of_a_run_by_hand_start_nothing_and_are_named():
    world = World(code=code(TAKES))
    admission = world.admit(by_hand(max_itre=20, rate=7, kind="c"))
    assert admission.outcome == "invalid-hyperparameters"
    assert "'max_itre' is none of kind, max_iter, rate. Did you mean 'max_iter'?" in admission.message
    assert "rate must be a number from 0.001 to 1.0, not 7" in admission.message
    assert "kind 'c' is none of a, b" in admission.message
    assert world.ledger.list_runs() == []
    assert world.ledger.held_lease(LockName.TRAINING) is None


@pytest.mark.parametrize(
    ("of_stack", "message"),
    [
        ('{"max_itre": 3}', "Did you mean 'max_iter'"),
        ('{"max_iter": 3.5}', "max_iter must be a whole number from 1 to 500, not 3.5"),
        ("{max_iter: 3}", "no JSON"),
        ('{"seed": 3}', "the parameter TrainingSeed sets it"),
        ('{"max_iter": [3]}', r"must be a number, a boolean or a string, not \\[3\\]"),
    ],
)
def test_wrong_ones_of_the_stack_end_the_run_before_anything_is_prepared_and_keep_its_drops(
    of_stack, message
):
    world = World(hyperparameters=of_stack, code=code(TAKES))
    admission = world.admit(a_drop(1))
    answer = admission.to_dict()
    assert answer["outcome"] == "refused"
    assert message.replace("\\", "") in answer["message"]
    world.close(admission, RunStatus.FAILED, error=answer["error"])
    run = world.ledger.get_run(admission.run.run_id)
    assert run.error["class"] == "InvalidHyperparameters"
    assert world.ledger.held_lease(LockName.TRAINING) is None
    [waits] = world.ledger.waiting_drops()
    assert waits.due_at == NEVER, "somebody has to correct the parameter first"


def test_a_model_that_says_nothing_of_what_it_takes_gets_all():
    world = World(hyperparameters='{"depth": 3}', code=code(b"def build_model(schema, h): ...\n"))
    assert world.admit(a_drop(1)).to_dict()["hyperparameters"] == {"depth": "3"}


def test_a_model_that_does_not_parse_loses_no_drop():
    """Its training job says what is wrong, and the run's drops wait."""
    world = World(hyperparameters='{"depth": 3}', code=code(b"def build_model(:\n"))
    assert world.admit(a_drop(1)).outcome == "admitted"


def test_a_run_of_before_they_could_be_set_has_none():
    run = World().admit(a_drop(1)).run
    old = {name: value for name, value in run.to_dict().items() if name != "hyperparameters"}
    assert Run.from_dict(old).hyperparameters == {}


def test_the_defaults_table_is_read_without_being_run_and_is_what_it_takes():
    import model

    assert declared_in(MODEL.read_bytes()) == model.HYPERPARAMETERS


@pytest.mark.parametrize(
    "table",
    ["{n: (1, 2) for n in 'ab'}", "dict(a=(1, 2))", "{'a': (1, 2, 3)}", "{'a': int}", "{'a': ()}", "3"],
)
def test_a_table_that_is_not_written_out_is_refused(table):
    with pytest.raises(InvalidHyperparameters, match="must be written out"):
        declared_in(f"HYPERPARAMETERS = {table}\n".encode())


def test_a_table_may_be_annotated_or_absent():
    assert declared_in(b"HYPERPARAMETERS: dict = {'a': (1, 2)}\n") == {"a": (1, 2)}
    assert declared_in(b"x = 1\n") is None


def test_what_sagemaker_does_not_carry_is_refused():
    for wrong in ({"x" * 300: 1}, {"x": "y" * 3000}, {f"x{n}": n for n in range(120)}):
        with pytest.raises(InvalidHyperparameters):
            carried(wrong)
    assert parse_hyperparameters("") == {}
    with pytest.raises(InvalidHyperparameters, match="JSON object"):
        parse_hyperparameters("[1]")


def test_numbers_keep_to_their_bounds_and_booleans_are_no_numbers():
    declared = {"n": (1, 5)}
    assert problems_of({"n": 5.0}, declared) == []
    for wrong in (0, 6, 2.5, True, "3", float("nan"), float("inf")):
        assert len(problems_of({"n": wrong}, declared)) == 1, json.dumps(wrong)
