"""The outline of a table is the same however its rows were grouped and ordered, and so is every output."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.preparation.dropping import csv_table, prepare

from dropforge.adapters.tables.checking.contract_check import prepared_schema
from dropforge.adapters.tables.staging import outline as outlines
from dropforge.adapters.tables.staging.outline import Outline
from dropforge.adapters.tables.writing.parts import tidied
from dropforge.domain.contract import Column, Contract
from dropforge.domain.profile import Ruler

CONTRACT = Contract(
    "y",
    None,
    "binary",
    ("no", "yes"),
    (
        Column("x", "number", nullable=True),
        Column("c", "category", nullable=True),
        Column("b", "boolean", nullable=True),
        Column("t", "timestamp", nullable=True),
        Column("y", "category", "target"),
    ),
)
ROW = st.tuples(
    st.integers(0, 12),
    st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e300])),
    st.one_of(st.none(), st.sampled_from(["a", "é", ""])),
)


def outline_of(rows: list[tuple[int, float | None, str | None]]) -> Outline:
    outline = Outline(CONTRACT)
    columns = [
        [x for _, x, _ in rows],
        [c for _, _, c in rows],
        [None] * len(rows),
        [key for key, _, _ in rows],
        ["yes"] * len(rows),
    ]
    schema = prepared_schema(CONTRACT)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    outline.add(
        pa.RecordBatch.from_arrays(arrays, schema=schema), np.array([k for k, _, _ in rows], dtype=np.uint64)
    )
    return outline


def plain(outline: Outline) -> str:
    found = {
        name: [ruler.points.tolist(), ruler.centre, ruler.exponent] if isinstance(ruler, Ruler) else ruler
        for name, ruler in outline.rulers().items()
    }
    return json.dumps(found)


@settings(max_examples=40)
@given(st.lists(ROW, max_size=40), st.integers(0, 40), st.integers(0, 40), st.randoms(use_true_random=False))
def test_outlines_of_parts_make_that_of_the_whole(rows, first, second, random):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(outlines, "SAMPLE_ROWS", 4)
        whole = plain(outline_of(rows))
        shuffled = random.sample(rows, len(rows))
        cuts = sorted((first, second))
        parts = [
            outline_of(part) for part in (shuffled[: cuts[0]], shuffled[slice(*cuts)], shuffled[cuts[1] :])
        ]
        parts[2].merge(Outline.from_bytes(parts[0].to_bytes(), CONTRACT))
        parts[2].merge(parts[1])
        assert plain(parts[2]) == whole


def test_cores_and_blocks_leave_no_trace_in_any_byte():
    data = csv_table(3000, extra="1.5,a,yes\nbroken,b,no\n")
    outputs = []
    for workers, block_bytes in ((1, 1 << 24), (3, 700), (2, 5000)):
        outcome = prepare(data, workers=workers, block_bytes=block_bytes)
        outputs.append({uri: content for uri, content in outcome.store.objects.items() if "/runs/" in uri})
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_part_has_the_sorted_dictionary_of_its_own_values():
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array([1, None], pa.int32()), pa.array(["unused", "b"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["c", "a"])),
    ]
    table = pa.table({"c": pa.chunked_array(chunks)})
    column = tidied(table).column("c").combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    assert column.dictionary.to_pylist() == ["a", "b", "c"]
    assert column.to_pylist() == ["b", None, "c", "a"]
