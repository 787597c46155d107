from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge.domain.contract import Column, Contract, diff
from dropforge.domain.errors import InvalidContract

TARGET = Column("y", "category", "target")
BASE = Contract("y", None, "binary", ("no", "yes"), (Column("x", "number"), TARGET))


def raw(**changes) -> dict:
    return {**BASE.to_dict(), **changes}


def column(**changes) -> list[dict]:
    return [{**BASE.columns[0].to_dict(), **changes}, TARGET.to_dict()]


def test_reads_what_it_writes():
    assert Contract.from_json(BASE.to_json()) == BASE
    assert Contract.from_json(BASE.to_json().encode()).hash == BASE.hash


def test_finds_columns_by_role_and_name():
    contract = Contract(
        "y",
        "k",
        "regression",
        None,
        (
            Column("k", "integer", "key"),
            Column("x", "number"),
            Column("n", "text", "ignored", True),
            Column("y", "number", "target"),
        ),
    )
    assert [c.name for c in contract.features] == ["x"]
    assert [c.name for c in contract.prepared] == ["k", "x", "y"]
    assert contract.target_column.type == "number"
    assert contract.has_column("n")
    assert not contract.has_column("z")
    with pytest.raises(KeyError):
        contract.column("z")


def test_the_hash_is_pinned_across_versions():
    assert BASE.hash == "e69172c558dbd5e6755700f880e5d6f56602082a8f42e2d34eec28775dcd1ec4"


def test_the_hash_follows_the_content_and_not_the_file():
    text = json.dumps(json.loads(BASE.to_json()), sort_keys=True)
    assert Contract.from_json(text).hash == BASE.hash
    assert Contract.from_json(json.dumps(raw(hash="0" * 64))).hash == BASE.hash
    assert Contract.from_json(json.dumps(raw(columns=column(minimum=0)))).hash != BASE.hash


def test_a_whole_minimum_of_a_number_has_one_spelling():
    whole, decimal = (Contract.from_json(json.dumps(raw(columns=column(minimum=m)))) for m in (0, 0.0))
    assert whole.hash == decimal.hash
    assert whole.to_json() == decimal.to_json()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("[]", "no JSON object"),
        (b"\xff\xfe", "no JSON in UTF-8"),
        ("[" * 100_000, "no JSON"),
        (json.dumps(raw(format=2)), "format is 2"),
        (json.dumps(raw(target="z")), "target 'z' is not among the columns"),
        (json.dumps(raw(key="x")), "key is 'x', but the columns with the role key are"),
        (json.dumps(raw(task="ranking")), "task 'ranking' is none of"),
        (json.dumps(raw(classes=None)), "needs classes"),
        (json.dumps(raw(classes=["yes", "no"])), "sorted"),
        (json.dumps(raw(classes=["a", "b", "c"])), "exactly two"),
        (json.dumps(raw(task="multiclass")), "at least three"),
        (json.dumps(raw(task="regression")), "has no classes"),
        (json.dumps(raw(classes=[1, 2])), "classes must be a list of strings"),
        (json.dumps(raw(columns=[])), "at least one column"),
        (json.dumps(raw(columns=["x"])), r"columns\[0\] is no object"),
        (json.dumps(raw(extra=1)), "extra is no known field"),
        (json.dumps(raw(columns=column(type="float"))), "type 'float' is none of"),
        (json.dumps(raw(columns=column(role="label"))), "role 'label' is none of"),
        (json.dumps(raw(columns=column(nullable="yes"))), "nullable must be true or false"),
        (json.dumps(raw(columns=column(type="text", privacy="drop"))), "where it is private"),
        (json.dumps(raw(columns=column(encoding="target"))), "only a category column that is a feature"),
        (json.dumps(raw(columns=column(minimum=2, maximum=1))), "above maximum"),
        (json.dumps(raw(columns=column(minimum="0"))), 'minimum must be a number or null and is "0"'),
        (json.dumps(raw(columns=column(minimum=10**400))), "double precision"),
        (json.dumps(raw(columns=column(type="integer", minimum=0.5))), "64-bit integers"),
        (json.dumps(raw(columns=column(type="category", minimum=1))), "only number and integer"),
        (json.dumps(raw(columns=column(categories=["a"]))), "only a category column"),
        (json.dumps(raw(columns=column(type="category", categories=[]))), "empty list"),
        (json.dumps(raw(columns=column(type="category", categories=["a", "a"]))), "stands twice"),
        (json.dumps(raw(columns=column(name="dropforge_row_key"))), "reserved"),
        (json.dumps(raw(columns=column(name=""))), "name is empty"),
        (json.dumps(raw(columns=column(name="\ud800"))), "Unicode"),
        (json.dumps(raw(columns=column(name="y"))), "column 'y' stands twice"),
        (json.dumps(raw(columns=column(role="ignored"))), "nothing to learn from"),
        ('{"format": 1, "format": 1}', "'format' stands twice"),
        (BASE.to_json().replace('"minimum": null', '"minimum": NaN', 1), "NaN is no JSON number"),
    ],
)
def test_what_is_no_contract_is_named(text, says):
    with pytest.raises(InvalidContract, match=says) as caught:
        Contract.from_json(text)
    assert "delete it" in str(caught.value)


def test_every_problem_is_named_at_once():
    broken = raw(task="x", target="z", columns=column(type="float"))
    with pytest.raises(InvalidContract, match=r"(?s)float.*'z'.*task 'x'"):
        Contract.from_json(json.dumps(broken))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_json_in_any_field_is_a_contract_or_a_named_problem(value):
    edited = [raw(**{field: value}) for field in BASE.to_dict()]
    edited += [raw(columns=column(**{field: value})) for field in BASE.columns[0].to_dict()]
    for content in edited:
        with suppress(InvalidContract):
            contract = Contract.from_json(json.dumps(content))
            assert Contract.from_json(contract.to_json()) == contract


def test_the_difference_is_readable():
    new = Contract(
        "y",
        None,
        "multiclass",
        ("a", "b", "c"),
        (Column("x", "integer", maximum=5), Column("new", "boolean"), TARGET),
    )
    assert diff(BASE, new).splitlines() == [
        "+ column 'new' (boolean, feature) is new",
        "~ column 'x': type was number, is integer",
        "~ column 'x': maximum was none, is 5",
        "~ task was binary, is multiclass",
        "~ classes was no, yes, is a, b, c",
    ]
    assert diff(new, BASE).splitlines()[0] == "- column 'new' (boolean, feature) is gone"
    assert diff(BASE, BASE) == ""
    assert diff(BASE, Contract("y", None, "binary", ("no", "yes"), BASE.columns[::-1])) == (
        "~ the order of the columns changed"
    )
