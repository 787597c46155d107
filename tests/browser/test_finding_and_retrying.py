"""Looking for runs and versions, getting at what a run left, and what helps a run that failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from dropforge.domain.records import RunStatus
from tests.browser.desk import NARROW, PATIENCE_MS, WIDE, Desk, assert_fit_and_free_of_barriers
from tests.browser.long_ledger import RUNS, VERSIONS
from tests.workflow.stack import Stack

expect.set_options(timeout=PATIENCE_MS)


@pytest.mark.usefixtures("long_stack")
def test_runs_are_found_by_words_and_state_and_sorted_by_any_column(long_desk: Desk):
    page = long_desk.open("/runs")
    expect(page.get_by_text("1 to 25")).to_be_visible()
    page.get_by_label("Find runs").fill("day-0042")
    expect(page.get_by_role("status").get_by_text(f"1 of the newest {RUNS:,} runs")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("/runs?find=day-0042")
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Find runs").fill("")
    expect(page.locator("tbody tr")).to_have_count(25)
    runs = page.get_by_role("columnheader", name="Run")
    runs.get_by_role("button").click()
    expect(page.locator("tbody tr").first).to_contain_text("day-0000")
    expect(runs).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Older").click()
    expect(page.locator("tbody tr").first).to_contain_text("day-0025")
    runs.get_by_role("button").click()
    expect(page.locator("tbody tr").first).to_contain_text(f"day-{RUNS - 1:04d}")
    page.get_by_role("combobox", name="State").click()
    page.get_by_role("option", name="stopped").click()
    expect(page.get_by_text(f"0 of the newest {RUNS:,} runs")).to_be_visible()
    assert_fit_and_free_of_barriers(
        long_desk, [("/runs?find=day", "tbody")], [("light", NARROW), ("dark", WIDE)]
    )


@pytest.mark.usefixtures("long_stack")
def test_versions_are_found_and_sorted_over_all_of_them(long_desk: Desk):
    page = long_desk.open("/models", ready="tbody")
    page.get_by_role("columnheader", name="Version").get_by_role("button").click()
    first = page.get_by_role("region", name="Versions").locator("tbody tr").first
    expect(first.get_by_role("link", name="Version 1", exact=True)).to_be_visible()
    page.get_by_label("Find versions").fill(f"version {VERSIONS}")
    expect(page.get_by_text(f"1 of {VERSIONS:,} versions")).to_be_visible()
    expect(page.get_by_role("region", name="Versions").locator("tbody tr")).to_have_count(1)
    assert_fit_and_free_of_barriers(
        long_desk, [("/models?find=1", "tbody")], [("light", NARROW), ("dark", WIDE)]
    )


def test_a_page_says_where_it_lies(desk: Desk, stack: Stack, data: Path):
    live = stack.live_or_first(data)
    page = desk.open(f"/models/{live.version}/card")
    way = page.get_by_role("navigation", name="Breadcrumb").get_by_role("link")
    expect(way).to_have_text(["Models", f"Version {live.version}"])
    way.last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Version {live.version}")
    way.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")
    expect(page.get_by_role("navigation", name="Breadcrumb")).to_have_count(0)


def test_what_a_run_left_can_be_downloaded(desk: Desk, stack: Stack, data: Path):
    live = stack.live_or_first(data)
    page = desk.open(f"/runs/{live.run_id}", ready=".timeline")
    page.get_by_text("Downloads").click()
    with page.expect_download() as judged:
        page.get_by_role("link", name="judgement.json").click()
    assert judged.value.suggested_filename == f"{live.run_id}-judgement.json"
    stored = stack.s3.get_object(Bucket=stack.bucket, Key=f"models/{live.run_id}/judgement.json")[
        "Body"
    ].read()
    assert Path(judged.value.path()).read_bytes() == stored
    with page.expect_download() as card:
        page.get_by_role("link", name="The model card, as Markdown").click()
    assert Path(card.value.path()).read_text().startswith("# ")
    refused = page.request.get(f"{desk.url}downloads/{live.run_id}/..%2F..%2Fledger.json")
    assert (refused.status, "left no file" in refused.text()) == (404, True)


def test_the_graph_can_be_zoomed_and_fitted_and_shows_where_a_run_failed(
    desk: Desk, stack: Stack, data: Path
):
    stack.live_or_first(data)
    runs, _ = stack.counts()
    stack.drop(b"radius\n1\n", "without-target.csv")
    failed = stack.wait_for_failed_run(runs + 1)
    page = desk.open(f"/runs/{failed.run_id}", ready="g.node")
    page.get_by_text("Error paths").click()
    expect(page.locator("g.node[data-tone='caught']").first).to_be_in_viewport()
    width = "document.querySelector('.state-graph svg').getBoundingClientRect().width"
    before = page.evaluate(width)
    page.get_by_role("button", name="Larger").click()
    assert page.evaluate(width) == pytest.approx(1.25 * before, abs=1)
    page.get_by_role("button", name="Fit", exact=True).click()
    frame = page.locator(".graph-frame")
    assert frame.evaluate(
        "each => each.scrollHeight <= each.clientHeight && each.scrollWidth <= each.clientWidth"
    )


def test_a_failed_run_is_tried_again_from_its_page(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    runs, _ = stack.counts()
    stack.drop(b"radius\n1\n", "no-target.csv")
    failed = stack.wait_for_failed_run(runs + 1)
    page = desk.open(f"/runs/{failed.run_id}")
    page.get_by_role("button", name="Train again").click()
    page.wait_for_url("**/runs/manual-*")
    again = stack.wait_for_failed_run(runs + 2)
    assert page.url.endswith(again.run_id)
    assert "incoming/no-target.csv" in again.keys


def test_a_changed_contract_is_accepted_from_the_page_of_the_run_that_proposes_it(
    desk: Desk, stack: Stack, data: Path
):
    stack.live_or_first(data)
    runs, versions = stack.counts()
    lines = data.read_text().splitlines()
    wider = [f"{lines[0]},ward"] + [
        f"{line},{'east' if n % 2 else 'west'}" for n, line in enumerate(lines[1:])
    ]
    stack.drop("\n".join(wider).encode(), "wider.csv")
    failed = stack.wait_for_failed_run(runs + 1)
    page = desk.open(f"/runs/{failed.run_id}")
    page.get_by_role("button", name="Accept its contract and train again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("ward")
    dialog.get_by_role("button", name="Accept and train again").click()
    expect(page.get_by_text("The contract is pinned, and incoming/wider.csv dropped again")).to_be_visible()
    model = stack.wait_for_version(versions + 1)
    run = stack.ledger.get_run(model.run_id)
    assert run is not None
    assert run.status is RunStatus.AWAITING_APPROVAL
    pinned = stack.s3.get_object(Bucket=stack.bucket, Key="contract/schema.json")["Body"].read()
    assert "ward" in [each["name"] for each in json.loads(pinned)["columns"]]
    page.reload()
    expect(page.get_by_role("button", name="Accept its contract and train again")).to_have_count(0)
