"""Deciding on versions, watching drift and asking the live model, in the browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from dropforge.domain.records import Approval, Live
from tests.browser.conftest import GUARDED
from tests.browser.desk import (
    NARROW,
    PATIENCE_MS,
    WIDE,
    Desk,
    assert_fit_and_free_of_barriers,
    await_quiet,
)
from tests.browser.traffic import rows_of, watched_hour
from tests.workflow.stack import Stack, wait_for

expect.set_options(timeout=PATIENCE_MS)


def candidate(stack: Stack, data: Path, name: str) -> int:
    """A version that waits for its decision, trained on most of the sample."""
    before = len(stack.ledger.list_models())
    lines = data.read_bytes().splitlines(keepends=True)
    stack.drop(b"".join(lines[: -10 * (before + 1)]), name)
    return stack.wait_for_version(before + 1).version


def choose(page: Page, action: str) -> None:
    page.get_by_role("button", name=action, exact=True).click()


def confirm(page: Page, action: str, reason: str) -> None:
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name=action)).to_be_disabled()
    dialog.get_by_label("Why?").fill(reason)
    dialog.get_by_role("button", name=action).click()


def test_a_decision_by_what_has_changed_meanwhile_is_refused(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    version = candidate(stack, data, "contested.csv")
    page = desk.open("/models")
    page.get_by_role("link", name="Review").click()
    choose(page, "Approve")
    stack.reject(version, reason="somebody else was faster")
    wait_for("rejection", lambda: stack.ledger.get_model(version).approval is Approval.REJECTED)
    confirm(page, "Approve and deploy", "looks good to me")
    expect(page.get_by_role("alert")).to_contain_text("changed while you were looking: it is rejected now")
    assert stack.ledger.get_model(version).decision_reason == "somebody else was faster"
    expect(page.locator(".standing")).to_contain_text("somebody else was faster")


def test_a_version_is_reviewed_and_approved_on_its_page(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    # Whoever was refused may decide again: the newest version, if another was not faster.
    newest = stack.ledger.list_models()[0]
    is_open = newest.approval in (Approval.PENDING, Approval.REJECTED)
    version = newest.version if is_open else candidate(stack, data, "reviewed.csv")
    page = desk.open("/models")
    page.get_by_role("link", name=f"Version {version}", exact=True).click()
    expect(page.get_by_role("heading", name=f"Version {version}")).to_be_visible()
    for title in (
        "Verdict",
        "Metrics on the hold-out",
        "ROC",
        "Calibration",
        "Confusion",
        "What the model goes by",
        "Guarded slices",
        "Disparity",
    ):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    slices = page.get_by_role("region", name="Guarded slices")
    expect(slices.get_by_text(f"{GUARDED} = up to", exact=False)).to_be_visible()
    # A hold-out of 55 rows has a dozen in each range: too few to compare both models in.
    expect(slices.get_by_text("can't say").first).to_be_visible()
    expect(slices.get_by_text("it takes 30 rows, and there are").first).to_be_visible()
    expect(page.get_by_role("columnheader", name="Gain").first).to_be_visible()
    choose(page, "Approve")
    confirm(page, "Approve and deploy", "calibrated, and as good on every slice")
    expect(
        page.get_by_text(f"Version {version} is approved; it will be deployed and tested.")
    ).to_be_visible()
    expect(page.locator(".standing .chip", has_text="live")).to_be_visible()
    decided = stack.ledger.get_model(version)
    assert decided is not None
    assert decided.decision_reason == "calibrated, and as good on every slice"
    assert (decided.decided_by or "").endswith("@localhost")


def test_a_threshold_is_tried_on_the_hold_out_and_changes_nothing(desk: Desk, stack: Stack, data: Path):
    live = stack.live_or_first(data)
    page = desk.open(f"/models/{live.version}", ready=".confusion")
    for title in ("Precision and recall", "Scores by class", "Any threshold"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    tried = page.locator(".card", has_text="Any threshold")
    slider = tried.get_by_role("slider", name="Decision threshold")
    expect(tried.get_by_text("the likelier class", exact=True)).to_be_visible()
    expect(tried.get_by_text("malignant from 0.5 on")).to_be_visible()
    await_quiet(page)

    slider.focus()
    page.keyboard.press("Home")
    expect(tried.get_by_text("malignant from 0 on")).to_be_visible()
    rows = tried.get_by_label("Confusion of this threshold").locator("tbody tr")
    expect(rows.nth(1).locator("td").nth(0)).to_have_text("00 %")
    called = tried.locator(".facts dt", has_text="called so")
    expect(called.locator("xpath=following-sibling::dd[1]")).to_have_text("1,000")
    cost = tried.locator(".facts dt", has_text="cost per 1,000 rows").locator(
        "xpath=following-sibling::dd[1]"
    )
    before = float(cost.inner_text())
    tried.get_by_label("A false alarm costs").fill("10")
    expect(cost).to_have_text(re.compile(f"^{before * 10:,.1f}$|^{before * 10:,.0f}$"))
    page.reload()
    expect(tried.get_by_text("malignant from 0.5 on")).to_be_visible()


def live_with_one_before(stack: Stack, data: Path) -> Live:
    """What is live, another version having been live before it."""
    live = stack.live_or_first(data)
    if live.previous_version is None:
        version = candidate(stack, data, "better.csv")
        stack.approve(version)
        live = stack.wait_for_live(version)
    return live


def test_a_rollback_is_asked_for_and_followed_to_its_end(desk: Desk, stack: Stack, data: Path):
    live = live_with_one_before(stack, data)
    page = desk.open("/models")
    page.get_by_role("button", name=f"Roll back to version {live.previous_version}").click()
    confirm(page, "Roll back", "complaints from the wards")
    expect(page.get_by_text(f"Version {live.previous_version} is live again.")).to_be_visible()
    row = page.get_by_role("row", name=f"Version {live.previous_version}")
    expect(row.locator(".chip", has_text="live")).to_be_visible()
    assert json.loads(stack.deployments()[-1]["input"])["comment"] == "complaints from the wards"


def test_rejecting_the_live_version_rolls_back_to_the_one_before(desk: Desk, stack: Stack, data: Path):
    live = live_with_one_before(stack, data)
    page = desk.open(f"/models/{live.version}")
    choose(page, "Reject")
    expect(page.get_by_role("dialog")).to_contain_text(
        f"is LIVE: rejecting it rolls back to version {live.previous_version}"
    )
    confirm(page, "Reject", "wrong on the newest patients")
    expect(
        page.get_by_text(f"It was live: the rollback to version {live.previous_version} starts.")
    ).to_be_visible()
    back = wait_for(
        "rollback", lambda: found if (found := stack.ledger.live()).version != live.version else None
    )
    assert back.version == live.previous_version
    page.get_by_role("link", name="Models", exact=True).first.click()
    row = page.get_by_role("row", name=f"Version {back.version}")
    expect(row.locator(".chip", has_text="live")).to_be_visible()


def test_a_row_is_predicted_by_the_form_and_its_outcome_reported(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    page = desk.open("/try")
    radius = page.get_by_label("mean radius", exact=True)
    expect(radius).not_to_have_value("")
    await_quiet(page)
    kept = radius.input_value()
    radius.fill("wide")
    choose(page, "Predict")
    expect(page.get_by_text("must be a number, not the string 'wide'")).to_be_visible()
    radius.fill(kept)
    radius.press("Enter")
    expect(page.get_by_label("Prediction id")).to_have_value(re.compile("^[0-9a-f]{32}$"))
    page.get_by_text("Python", exact=True).click()
    program = page.get_by_label("Call in Python")
    expect(program).to_contain_text(f"'mean radius': {kept}")
    expect(program).to_contain_text('os.environ["DROPFORGE_API_KEY"]')
    page.get_by_label("True diagnosis").click()
    page.get_by_role("option", name="benign").click()
    choose(page, "Report outcome")
    expect(page.get_by_text("The outcome is recorded.")).to_be_visible()
    choose(page, "Look it up")
    expect(page.locator(".facts dd", has_text=re.compile("^benign$")).first).to_be_visible()


def test_a_files_rows_are_predicted_with_their_problems_named(
    desk: Desk, stack: Stack, data: Path, tmp_path: Path
):
    stack.live_or_first(data)
    header, first, second, *_ = data.read_text().splitlines()
    broken = ",".join(["77", "wide", *second.split(",")[2:]])
    (tmp_path / "patients.csv").write_text("\n".join([header, first, broken]) + "\n")
    page = desk.open("/try")
    page.set_input_files("input[type=file]", tmp_path / "patients.csv")
    expect(page.get_by_text("1 of 2 rows were predicted.")).to_be_visible()
    expect(page.get_by_text("must be a number, not the string 'wide'")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the result").click()
    predicted = Path(download.value.path()).read_text().splitlines()
    assert predicted[0].endswith("predicted_label,probability_benign,probability_malignant,problem")
    assert "must be a number" in predicted[2]


def test_shifted_traffic_shows_as_drift_of_its_column(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    assert watched_hour(stack, rows_of(data, stack, 70), 3)["report_uri"]
    for hours_ago in (2, 1):
        moved = [{**row, "mean radius": row["mean radius"] * 1.8} for row in rows_of(data, stack, 70, 70)]
        assert watched_hour(stack, moved, hours_ago)["verdict"] == "drifted"
    page = desk.open("/drift")
    expect(page.locator(".card", has_text="Newest window").locator(".chip")).to_have_text("drifted")
    row = page.get_by_role("button", name=re.compile("^mean radius"))
    expect(row.locator(".chip")).to_have_text("drifted")
    row.focus()
    page.keyboard.press("Enter")
    expect(row).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="mean radius: over time")).to_be_visible()
    expect(page.get_by_role("img", name="mean radius: distance from chance")).to_be_visible()
    expect(page.get_by_role("img", name="mean radius: shares of rows in training")).to_be_visible()
    choose(page, "24 hours")
    expect(page.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("row", name=re.compile("^Drift "))).to_be_visible()


# As on a busy machine: what should happen a moment later doesn't, until it is let.
_HOLD_MOMENTS = """() => {
    const real = window.setTimeout, held = [];
    window.setTimeout = (f, ms, ...given) => ms ? real(f, ms, ...given) : held.push(() => f(...given));
    window.letGo = () => { window.setTimeout = real; held.forEach((each) => each()); };
}"""


def test_a_chart_that_goes_before_it_is_drawn_fails_nothing(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    watched_hour(stack, rows_of(data, stack, 70), 4)
    page = desk.open("/drift", ready=".chart svg")
    page.evaluate(_HOLD_MOMENTS)
    choose(page, "30 days")
    expect(page.get_by_text("30 days ago")).to_be_visible()
    expect(page.locator(".chart > div").first).to_be_attached()
    assert page.locator(".chart svg").count() == 0
    choose(page, "7 days")
    expect(page.get_by_text("7 days ago")).to_be_visible()
    page.evaluate("() => window.letGo()")
    expect(page.locator(".chart svg").first).to_be_visible()
    assert desk.complaints == []


def test_these_pages_fit_the_screen_and_have_no_serious_barrier(desk: Desk, stack: Stack, data: Path):
    live = stack.live_or_first(data)
    pages = (
        ("/models", ".table"),
        (f"/models/{live.version}", ".confusion"),
        ("/drift", ".card"),
        ("/try", ".field"),
    )
    assert_fit_and_free_of_barriers(desk, pages, [("light", WIDE), ("dark", NARROW)])
