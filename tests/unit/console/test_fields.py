"""The controls of the form under Try it."""

from __future__ import annotations

import pytest
from nicegui import Client, ui
from nicegui.page import page

from dropforge.domain.contract import Column
from dropforge_ops.console.pages.trying import draw_field
from dropforge_ops.console.reading.trying import Field


@pytest.mark.parametrize(("kind", "has_lines"), [("text", True), ("number", False), ("timestamp", False)])
def test_only_a_text_may_have_several_lines(kind, has_lines):
    with Client(page("")):
        drawn = draw_field(Field(Column("told", kind), (), is_closed=False, seen="", rule=""))
    assert isinstance(drawn, ui.textarea) is has_lines
