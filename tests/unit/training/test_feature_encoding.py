from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inference
from dropforge.domain.contract import MAXIMUM_CATEGORIES, Column, Contract
from dropforge.domain.encoding import TIMESTAMP_PARTS, Encoding, matrix_columns
from dropforge.domain.errors import InvalidModel
from dropforge.domain.instances import columns_of, json_value
from dropforge.domain.row_rules import MISSING_SPELLINGS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def contract_of(*features):
    return Contract("y", None, "regression", None, (*features, Column("y", "number", "target")))


def strings(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def labels(*values):
    return inference.labels_of(pa.array(values, pa.string()))


def test_categories_are_coded_by_frequency_and_the_unseen_share_a_code():
    contract = contract_of(Column("city", "category", nullable=True))
    encoding = Encoding.learn(
        contract, [{"city": labels("b", "a", "b", None)}, {"city": labels("c", "a", "b")}]
    )
    assert encoding.vocabularies == {"city": ("b", "a", "c")}
    for of in (strings, labels):
        coded = encoding.encode({"city": of("a", "zzz", None, "b")})[:, 0]
        np.testing.assert_array_equal(coded, [1.0, 3.0, np.nan, 0.0])


def test_labels_of_a_part_of_an_array_are_those_of_its_rows():
    whole = pa.array(["a", None, "b", "c", None, "b"], pa.string())
    found = inference.labels_of(whole.slice(2, 3))
    assert found.to_objects().tolist() == ["b", "c", None]
    assert found.counts() == {"b": 1, "c": 1}
    assert found.take(np.array([2, 0])).to_objects().tolist() == [None, "b"]


def test_number_of_categories_is_bounded_and_ties_are_settled_by_name():
    contract = contract_of(Column("code", "category"))
    values = [*(f"{number:04}" for number in range(1000)), "0999"]
    (vocabulary,) = Encoding.learn(contract, [{"code": labels(*values)}]).vocabularies.values()
    assert len(vocabulary) == MAXIMUM_CATEGORIES
    assert vocabulary[:3] == ("0999", "0000", "0001")


@given(moment=st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds must be naive
def test_timestamps_become_days_hour_weekday_and_day_of_year(moment):
    contract = contract_of(Column("at", "timestamp"))
    encoding = Encoding(contract, {})
    (row,) = encoding.encode({"at": np.array([float((moment - EPOCH) // timedelta(microseconds=1))])})
    assert row[0] == pytest.approx((moment - EPOCH) / timedelta(days=1), abs=1e-6)
    assert row[1:].tolist() == [moment.hour, moment.weekday(), moment.timetuple().tm_yday - 1]


def test_missing_timestamp_is_missing_in_all_its_parts():
    encoding = Encoding(contract_of(Column("at", "timestamp", nullable=True)), {})
    assert np.isnan(encoding.encode({"at": np.array([np.nan])})).all()


def test_matrix_columns_follow_the_contract_alone():
    contract = contract_of(
        Column("n", "number"), Column("at", "timestamp"), Column("c", "category"), Column("b", "boolean")
    )
    columns = matrix_columns(contract)
    assert [c.kind for c in columns] == ["numeric"] * 5 + ["categorical", "boolean"]
    assert [c.source for c in columns] == ["n"] + ["at"] * len(TIMESTAMP_PARTS) + ["c", "b"]
    assert columns == Encoding(contract, {"c": ()}).columns


def test_encoding_survives_its_file():
    contract = contract_of(Column("city", "category"))
    encoding = Encoding.learn(contract, [{"city": labels("Łódź", "a")}])
    assert Encoding.from_json(encoding.to_json(), contract) == encoding


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1, "vocabularies": {}}', '{"format": 2, "vocabularies": {"city": []}}']
)
def test_file_that_is_no_encoding_of_the_contract_is_refused(text):
    with pytest.raises(InvalidModel, match="train the model again"):
        Encoding.from_json(text, contract_of(Column("city", "category")))


@given(
    number=st.floats(allow_nan=False, allow_infinity=False),
    integer=st.integers(-(2**63), 2**63 - 1),
    boolean=st.booleans(),
    category=st.text().filter(lambda text: text.strip() not in MISSING_SPELLINGS),
    timestamp=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_values_survive_their_json_form(number, integer, boolean, category, timestamp):
    contract = contract_of(
        Column("number", "number"),
        Column("integer", "integer"),
        Column("boolean", "boolean"),
        Column("category", "category"),
        Column("timestamp", "timestamp"),
    )
    instance = {
        "number": number,
        "integer": integer,
        "boolean": boolean,
        "category": category,
        "timestamp": timestamp.isoformat(),
    }
    once = columns_of(contract, [instance])
    again = columns_of(contract, [{c.name: json_value(c, once[c.name][0]) for c in contract.features}])
    assert {name: values[0] for name, values in once.items()} == {n: v[0] for n, v in again.items()}
