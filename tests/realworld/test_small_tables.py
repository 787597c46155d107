"""Eight of the real tables: each is used, and no model is worse than a plain baseline's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.realworld.baseline import compare
from tests.realworld.pipeline import run_table
from tests.realworld.tables import Table, all_tables

SMALL = [table for table in all_tables() if table.small]
LEVEL = 1 - 0.001 / len(SMALL)
"""So wide that noise alone fails the test in one of a thousand changes of the product."""


def test_names_are_unique_and_there_are_enough():
    names = [table.name for table in all_tables()]
    assert len(set(names)) == len(names) >= 60
    assert len(SMALL) == 8


@pytest.mark.parametrize("table", SMALL, ids=lambda table: table.name)
def test_a_real_table_is_used_and_no_worse_than_a_plain_baseline(table: Table, tmp_path: Path) -> None:
    content = table.read()
    result = run_table(table, content, tmp_path)
    found = compare(content, table.file_name, result, LEVEL)
    assert not found.is_below, found
