from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge.domain import figures
from dropforge.domain.figures import figure, told_apart


def test_the_examples_in_the_text_hold():
    assert doctest.testmod(figures).failed == 0


def as_number(text):
    return float(text.replace(",", ""))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=4))
def test_numbers_read_beside_each_other_keep_their_order(values):
    read = [as_number(text) for text in told_apart(*values)]
    for one, its in zip(values, read, strict=True):
        for other, others in zip(values, read, strict=True):
            assert (one < other, one == other) == (its < others, its == others)


@given(st.floats(min_value=1e-9, max_value=9e14))
def test_what_is_written_is_close_and_plain(value):
    text = figure(value)
    assert as_number(text) == pytest.approx(value, rel=0.5e-3)
    assert "e" not in text


def test_the_extremes_are_not_mostly_zeros():
    assert figure(1.5e-12) == "1.5e-12"
    assert figure(-2.25e18) == "-2.25e+18"


def test_a_whole_part_is_never_rounded():
    assert figure(51234.5678) == "51,235"
    assert figure(999.96) == "1,000"


def test_undefined_numbers_take_no_part():
    assert told_apart(None, math.nan, 0.5) == ("–", "–", "0.5")
    assert figure(math.nan) == "–"
