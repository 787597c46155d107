"""Guarded columns are found to be there, and to be no secret, before anything is trained."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import DATA, prepare, read_parts

from dropforge.domain.contract import Contract
from dropforge.domain.errors import (
    InvalidSettings,
    MissingGuardedColumn,
    PrivateGuardedColumn,
    UnsuitableGuardedColumn,
)

PINNED = f"{DATA}/contract/schema.json"


def table(columns="x,region,note,y") -> bytes:
    rng = random.Random(1)  # noqa: S311 - a sample
    values = {
        "x": lambda: f"{rng.random():.4f}",
        "region": lambda: rng.choice(["north", "south", ""]),
        "note": lambda: " ".join(rng.choice("abcdefghij") * 5 for _ in range(12)),
        "y": lambda: rng.choice(["no", "yes"]),
    }
    names = columns.split(",")
    return "\n".join([columns, *(",".join(values[name]() for name in names) for _ in range(300))]).encode()


def edited(store, **changes):
    """Edit the region's column in the pinned contract, as people do."""
    contract = Contract.from_json(store.read(PINNED))
    columns = tuple(replace(c, **changes) if c.name == "region" else c for c in contract.columns)
    store.write(PINNED, replace(contract, columns=columns).to_json().encode())


def test_a_guarded_column_stands_in_the_runs_contract_and_stays_a_feature():
    outcome = prepare(table(), guarded=("region",))
    assert outcome.contract.guarded == ("region",)
    assert outcome.contract.column("region").role == "feature"


def test_a_run_follows_the_parameter_whatever_was_pinned():
    store = InMemoryObjectStore()
    before = prepare(table(), store=store)
    after = prepare(table(), store=store, run_id="next", guarded=("region",), positive="no")
    assert (before.contract.guarded, after.contract.guarded) == ((), ("region",))
    assert (before.contract.positive_code, after.contract.positive_code) == (1, 0)
    assert after.contract.splits_like(before.contract)


def test_an_ignored_column_may_be_guarded_and_is_still_not_learned_from():
    store = InMemoryObjectStore()
    prepare(table(), store=store)
    edited(store, role="ignored", nullable=True)
    outcome = prepare(table(), store=store, run_id="next", guarded=("region",))
    assert outcome.contract.column("region").role == "guarded"
    assert "region" not in {column.name for column in outcome.contract.features}
    values = read_parts(store, f"{DATA}/runs/next/test/").column("region").to_pylist()
    assert set(values) == {"north", "south", None}


def test_a_guarded_column_that_is_not_there_is_told_by_name():
    with pytest.raises(MissingGuardedColumn, match="GuardedColumns names 'sex', which is not among"):
        prepare(table(), guarded=("region", "sex"))


def test_a_guarded_column_that_is_gone_from_the_contract_is_told_by_name():
    store = InMemoryObjectStore()
    prepare(table("x,note,y"), store=store)
    with pytest.raises(MissingGuardedColumn, match=r"'region'.*contract/schema.json"):
        prepare(table("x,note,y"), store=store, run_id="next", guarded=("region",))


@pytest.mark.parametrize("privacy", ["drop", "hash"])
def test_a_private_guarded_column_is_refused(privacy):
    store = InMemoryObjectStore()
    prepare(table(), store=store, guarded=("region",))
    edited(store, privacy=privacy)
    with pytest.raises(PrivateGuardedColumn, match=rf"'region', which is private \({privacy}\)"):
        prepare(table(), store=store, run_id="next", guarded=("region",))


def test_free_text_makes_no_slices():
    with pytest.raises(UnsuitableGuardedColumn, match="'note', which is a text"):
        prepare(table(), guarded=("note",))


def test_the_key_makes_no_slices():
    numbered = b"id,x,y\n" + b"".join(
        b"%d,%d.5,%s\n" % (i, i * 7 % 100, b"no" if i % 3 else b"yes") for i in range(200)
    )
    with pytest.raises(UnsuitableGuardedColumn, match="'id', which identifies rows"):
        prepare(numbered, key="id", guarded=("id",))


@pytest.mark.parametrize(
    ("guarded", "said"),
    [
        (("y",), "names the target"),
        (("region", "region"), "name each column once"),
        (("region", ""), "name each column once"),
        (tuple("abcdefghijk"), "names 11 columns"),
    ],
)
def test_settings_that_make_no_sense_are_refused(guarded, said):
    with pytest.raises(InvalidSettings, match=said):
        prepare(table(), guarded=guarded)


def test_a_contract_without_what_it_may_have_hashes_as_it_did():
    contract = prepare(table()).contract
    assert {"positive", "guarded"} & contract.to_dict().keys() == set()
    told = replace(contract, positive="no", guarded=("region",))
    assert told.hash != contract.hash
    assert Contract.from_json(told.to_json()) == told
