"""Tables mean what they mean to pandas, polars and DuckDB, except where the list says otherwise."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.readers.dialects import DIALECTS, Written
from tests.readers.differences import DIFFERENCES, NAMES, PAGE, Difference, compared, written_page

EXAMPLES = 250
"""The same in every run; `make readers` looks for others."""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_means_what_other_readers_agree_on(dialect, tmp_path):
    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(table=DIALECTS[dialect]())
    def read_alike(table: Written) -> None:
        for _ in compared(table, tmp_path):
            pass

    read_alike()


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda each: each.written)
def test_each_intended_difference_is_still_one(difference: Difference, tmp_path):
    found = [each for each in compared(difference.example, tmp_path) if each is not None]
    assert difference in found


def test_the_page_lists_them_as_they_are_read_now():
    page = PAGE.read_text(encoding="utf-8")
    assert written_page(page) == page, "run make readers ARGS=--write"


def test_a_difference_that_nobody_means_is_found(tmp_path, monkeypatch):
    """The comparison would see what it looks for: without its list it refuses every example."""
    monkeypatch.setattr("tests.readers.differences.DIFFERENCES", ())
    for difference in DIFFERENCES:
        if difference is not NAMES:
            with pytest.raises(AssertionError):
                list(compared(difference.example, tmp_path))
