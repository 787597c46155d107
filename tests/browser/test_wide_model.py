"""The Drift page of a model with 2,000 columns: a week of its windows, of which the newest have moved."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from playwright.sync_api import expect

from dropforge.domain.drift.failing import Errors, Failing, SlicedColumn, find_failing
from dropforge.domain.moments import iso
from dropforge_ops.console.context import Context
from tests.browser.desk import Desk
from tests.unit.drift.test_watch_model import WIDE, wide_report

MOVED = WIDE[1234]
HOURS, DRIFTED_HOURS = 48, 6
# Tests run on busy machines; on an idle one it is a second.
DRAWN_MS = 60_000


def where_it_fails() -> Failing:
    """Errors three times as large in a range of one column."""
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=2000)
    errors = Errors.of_values(rng.normal(size=2000) * np.where(drawn > 1.2, 3, 1), np.zeros(2000))
    columns = [SlicedColumn.of(WIDE[7], "number", drawn)]
    ids = [f"{row:032x}" for row in range(2000)]
    return find_failing(columns, errors, ids, rate=0.01, minimum_rows=50)


@pytest.fixture(scope="module")
def _week(long_stack: Context) -> None:
    """Reports of hours that have passed, in the bucket of a stack."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    quiet, drifted = (wide_report(moved, where_it_fails()).to_dict() for moved in (None, MOVED))
    s3, bucket = long_stack.target.client("s3"), long_stack.target.bucket
    for ago in range(HOURS, 0, -1):
        start = now - timedelta(hours=ago)
        report = drifted if ago <= DRIFTED_HOURS else quiet
        window = {"start": iso(start), "end": iso(start + timedelta(hours=1))}
        body = json.dumps({**report, "window": window}).encode()
        s3.put_object(Bucket=bucket, Key=f"monitoring/{start:%Y/%m/%d/%H}/report.json", Body=body)


@pytest.mark.usefixtures("_week")
def test_what_has_moved_is_first_of_two_thousand_columns_and_the_page_is_drawn_in_bounded_time(
    long_desk: Desk,
):
    page = long_desk.open("/drift", ready=".strip-row")
    expect(page.locator(".chart svg").first).to_be_visible()
    assert page.evaluate("performance.now()") < DRAWN_MS
    expect(page.locator(".strip-row").first).to_contain_text(MOVED)
    expect(page.locator(".strip-row").first.locator(".chip")).to_have_text("drifted")
    expect(
        page.get_by_role("img", name=f"{MOVED}: drifted in {DRIFTED_HOURS} of {HOURS} windows")
    ).to_be_visible()
    expect(page.locator(".strip-row")).to_have_count(200)
    expect(page.get_by_text("Still farther from drifting, and not drawn: 1,80")).to_be_visible()
    row = page.locator(".strip-row").nth(3)
    name = row.locator(".strip-name").inner_text()
    row.click()
    expect(page.get_by_role("heading", name=f"{name}: over time")).to_be_visible()
    failing = page.locator(".card", has_text="Where errors concentrate")
    expect(failing.get_by_role("row", name=re.compile(re.escape(WIDE[7])))).to_be_visible()
