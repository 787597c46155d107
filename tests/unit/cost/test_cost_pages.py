"""The page on scale shows what its command prints."""

from __future__ import annotations

import pytest
from scripts.cost_documents import PAGES, ROOT, refreshed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_its_commands_print(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = page.read_text(encoding="utf-8")
    assert "<!-- dropforge cost" in text
    assert refreshed(text) == text, "run: python scripts/cost_documents.py"
