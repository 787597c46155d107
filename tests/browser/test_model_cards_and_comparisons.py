"""Model cards, two versions side by side, and the metric over versions, in the browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.desk import NARROW, PATIENCE_MS, WIDE, Desk, assert_fit_and_free_of_barriers
from tests.workflow.stack import Stack

expect.set_options(timeout=PATIENCE_MS)


def two_versions(stack: Stack, data: Path) -> tuple[int, int]:
    """The live version, and another one."""
    live = stack.live_or_first(data).version
    others = [each.version for each in stack.ledger.list_models() if each.version != live]
    if others:
        return live, others[0]
    lines = data.read_bytes().splitlines(keepends=True)
    stack.drop(b"".join(lines[:-10]), "fewer.csv")
    return live, stack.wait_for_version(live + 1).version


def test_a_versions_card_is_read_from_its_page(desk: Desk, stack: Stack, data: Path) -> None:
    version = stack.live_or_first(data).version
    page = desk.open(f"/models/{version}")
    page.get_by_role("link", name="Model card").click()
    expect(page.get_by_role("heading", name="Model card", exact=True)).to_be_visible()
    for title in ("What it is for", "Evaluation: hold-out", "Training", "Decision", "Details"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(page.get_by_text("Predicts 'diagnosis' (binary) from 30 columns.")).to_be_visible()
    expect(page.locator(".chip", has_text="approved")).to_be_visible()
    expect(page.get_by_role("region", name="Metrics").first).to_contain_text("95 % interval")
    assert_fit_and_free_of_barriers(
        desk, [(f"/models/{version}/card", ".facts")], [("light", NARROW), ("dark", WIDE)]
    )


def test_two_versions_are_compared_and_either_side_can_be_chosen(
    desk: Desk, stack: Stack, data: Path
) -> None:
    live, other = two_versions(stack, data)
    page = desk.open(f"/models/{other}")
    page.get_by_role("link", name=f"Compare with version {live}").click()
    expect(page.get_by_role("heading", name="On the same rows")).to_be_visible()
    expect(page.get_by_role("region", name="Metrics on the same rows")).to_contain_text("auc")
    expect(page.get_by_role("heading", name="Libraries")).to_be_visible()
    page.get_by_role("combobox", name="B").click()
    page.get_by_role("option", name=f"Version {live}", exact=True).click()
    page.wait_for_url(f"**/compare/v{live}/v{live}")
    expect(page.get_by_text("The same on both sides.").first).to_be_visible()
    assert_fit_and_free_of_barriers(
        desk, [(f"/compare/v{live}/v{other}", ".table")], [("light", NARROW), ("dark", WIDE)]
    )
    page = desk.open(f"/compare/v{live}/v{other}", width=NARROW, ready=".table")
    digests = page.get_by_role("row", name="data version").locator(".side")
    expect(digests).to_have_count(2)
    for digest in digests.all():
        box = digest.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= NARROW


def test_an_unknown_run_is_told_in_a_line(desk: Desk, stack: Stack, data: Path) -> None:
    live = stack.live_or_first(data).version
    page = desk.open(f"/compare/v{live}/nothing")
    expect(page.get_by_text("There is no run 'nothing'.")).to_be_visible()
    desk.complaints.clear()


def test_the_metric_over_versions_is_on_models_and_overview(desk: Desk, stack: Stack, data: Path) -> None:
    live, other = two_versions(stack, data)
    for path in ("/models", "/"):
        page = desk.open(path, ready=".chart svg")
        chart = page.get_by_role("img", name="auc of ")
        label = chart.first.get_attribute("aria-label") or ""
        assert f"live is version {live}" in label
        assert f"version {max(live, other)}" in label
        expect(chart.first.get_by_text("live").first).to_be_visible()
    assert_fit_and_free_of_barriers(
        desk, [("/models", ".chart svg"), ("/", ".chart svg")], [("light", NARROW), ("dark", WIDE)]
    )
