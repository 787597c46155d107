"""The console over a ledger of years."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from dropforge_ops.console.context import Context
from dropforge_ops.console.reading.overview import read_standing
from dropforge_ops.console.reading.runs import PAGE_ROWS, read_runs
from tests.browser.desk import Desk
from tests.browser.long_ledger import RUNS, VERSIONS

# Tests run on busy machines; `python -m bench.console_paint` measures it.
PAINT_MS = 10_000


@pytest.fixture
def requests(long_stack: Context) -> Iterator[Counter[str]]:
    """Counts the requests to DynamoDB from now on, by operation."""
    counted: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        counted[model.name] += 1

    events = long_stack.target.client("dynamodb").meta.events
    events.register("before-call.dynamodb", count)
    yield counted
    events.unregister("before-call.dynamodb", count)


def test_the_overview_takes_three_requests_however_long_the_ledger_is(long_stack, requests):
    found = read_standing(long_stack.ledger)
    assert [each.version for each in found.waiting] == [VERSIONS]
    assert found.runs[0].run_id == "day-0999"
    assert requests == {"Query": 2, "GetItem": 1}


def test_a_page_of_runs_takes_one_request_and_pages_meet_without_gap_or_overlap(long_stack, requests):
    seen: list[str] = []
    page = read_runs(long_stack.ledger)
    while True:
        assert len(page.runs) <= PAGE_ROWS
        seen += [run.run_id for run in page.runs]
        if page.older is None:
            break
        page = read_runs(long_stack.ledger, page.older)
    assert seen == [f"day-{number:04d}" for number in reversed(range(RUNS))]
    assert requests["Query"] <= RUNS / PAGE_ROWS + 1


def test_the_overview_of_a_long_ledger_is_no_heavier_than_that_of_a_new_stack(
    long_console: str, console: str
):
    def weight(url: str) -> int:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own console
            return len(answer.read())

    assert weight(long_console) < 2 * weight(console)


def test_the_list_of_a_long_ledger_is_painted_at_once_and_leafed_through(long_desk: Desk):
    page = long_desk.open("/runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(PAGE_ROWS)
    expect(rows.first).to_contain_text("day-0999")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < PAINT_MS
    page.get_by_role("button", name="Older").click()
    expect(rows.first).to_contain_text(f"day-{RUNS - 1 - PAGE_ROWS:04d}")
    expect(page.get_by_text(f"{PAGE_ROWS + 1} to {2 * PAGE_ROWS}")).to_be_visible()
    page.get_by_role("button", name="Newer").click()
    expect(rows.first).to_contain_text("day-0999")
    expect(page.get_by_role("button", name="Newer")).to_be_disabled()


def test_the_metric_over_hundreds_of_versions_is_a_bounded_chart(long_desk: Desk) -> None:
    page = long_desk.open("/models", ready=".chart svg")
    label = page.get_by_role("img", name="auc of 60 versions").get_attribute("aria-label") or ""
    assert f"version {VERSIONS} 0.97" in label
    expect(page.get_by_text(f"{VERSIONS - 60} earlier versions are not shown.")).to_be_visible()
