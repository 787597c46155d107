"""No error of ours says more than can travel with it, and none loses what to do."""

from __future__ import annotations

import inspect
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.preparation.dropping import prepare

from dropforge.application.close_run import readable_error
from dropforge.domain import errors
from dropforge.domain.contract import Contract
from dropforge.domain.errors import LONGEST_MESSAGE, DropforgeError, InvalidContract, cut
from dropforge.domain.instance_rules import InvalidInstances, checked_values
from dropforge_ops.actions.prediction_api import OutcomesRefused
from dropforge_ops.errors import OperationFailed

ADVICE = "Drop files that have them."
LONG = f"These columns are gone: {', '.join(f'column number {n}' for n in range(9000))}. {ADVICE}"
CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type)
    and issubclass(each, DropforgeError)
    and list(inspect.signature(each).parameters) == ["message"]
]


@given(st.text(max_size=3000), st.integers(200, 2000))
def test_a_cut_message_has_its_start_its_end_and_a_count(message, longest):
    shown = cut(message, longest)
    assert len(shown) <= longest
    if len(message) <= longest:
        assert shown == message
    else:
        start, _, rest = shown.partition(" (")
        left_out = len(message) - (longest - 60)
        assert f" ({left_out:,} characters are left out here) " in shown
        assert message.startswith(start)
        assert message.endswith(rest[-30:])


@pytest.mark.parametrize("kind", CLASSES, ids=lambda each: each.__name__)
def test_every_error_bounds_its_message_and_keeps_the_whole(kind):
    error = kind(LONG)
    assert len(str(error)) <= LONGEST_MESSAGE
    assert str(error).endswith(ADVICE)
    assert error.whole == pickle.loads(pickle.dumps(error)).whole == LONG


def test_there_are_errors_to_bound():
    assert len(CLASSES) > 30


def test_what_a_run_ends_with_keeps_what_to_do():
    for message in (LONG, str(errors.SchemaChanged(LONG))):
        cause = json.dumps({"errorType": "SchemaChanged", "errorMessage": message})
        told = readable_error({"Error": "SchemaChanged", "Cause": cause})["message"]
        assert len(told) <= 5000
        assert told.endswith(ADVICE)


def test_a_contract_of_thousands_of_wrong_columns_is_refused_in_few_words():
    columns = [{"name": f"column number {n}", "type": "colour", "role": "feature"} for n in range(5000)]
    with pytest.raises(InvalidContract) as caught:
        Contract.from_json(json.dumps({"format": 1, "target": "y", "task": "regression", "columns": columns}))
    assert len(str(caught.value)) <= LONGEST_MESSAGE
    assert str(caught.value).endswith("so that the next drop pins a new contract.")


def test_a_request_with_a_long_member_is_refused_in_few_words():
    contract = prepare(b"x,y\n" + b"".join(b"%d.5,%d\n" % (i, i % 2) for i in range(400))).contract
    with pytest.raises(InvalidInstances) as caught:
        checked_values(contract, [{"x": 1.5, "z" * 500_000: 1}])
    assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_commands_say_no_more_than_a_terminal_shows_and_give_the_whole_as_facts():
    problems = [{"id": f"prediction-{n}", "problem": "there is no such prediction"} for n in range(500)]
    error = OutcomesRefused("500 of 500 outcomes were not recorded.", 0, problems)
    assert len(str(error)) <= LONGEST_MESSAGE
    assert error.facts["problems"] == problems
    assert len(str(OperationFailed(LONG))) <= LONGEST_MESSAGE
