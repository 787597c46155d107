"""The console as people use it: drop, watch, find their way by keyboard, on any screen."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from dropforge.domain.records import RunStatus
from dropforge_ops.actions.replays import DATA
from tests.browser.desk import (
    NARROW,
    PATIENCE_MS,
    WIDE,
    Desk,
    assert_fit_and_free_of_barriers,
    drag,
    drop,
)
from tests.workflow.stack import Stack

expect.set_options(timeout=PATIENCE_MS)

NODE = "g.node[aria-label^='{}:']"


def test_an_empty_console_says_what_to_do(desk: Desk):
    page = desk.open("/")
    expect(page.get_by_text("No model is live")).to_be_visible()
    page.get_by_role("link", name="Runs").click()
    expect(page.get_by_text("No run yet")).to_be_visible()
    expect(page.get_by_text("Drop files anywhere")).to_be_visible()


def test_an_empty_file_is_refused_with_the_reason(desk: Desk, stack: Stack):
    page = desk.open("/runs")
    drop(page, b"", "nothing.csv")
    expect(page.get_by_role("alert")).to_have_text("The file is empty.")
    assert page.get_by_role("progressbar").all() == []
    assert stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix="incoming/").get("KeyCount", 0) == 0
    # The browser notes every answer that isn't 2XX as an error of the page.
    assert [each for each in desk.complaints if "413" not in each] == []
    desk.complaints.clear()


def test_a_file_is_taken_by_the_whole_window_on_a_page_without_a_place_for_it(desk: Desk, stack: Stack):
    page = desk.open("/drift")
    zone = page.locator(".drop-zone")
    expect(zone).to_be_hidden()
    assert drag(page, "dragover", "h1")  # what nobody prevents, the browser opens in place of the page
    drag(page, "dragenter", "h1")
    expect(zone).to_contain_text("Drop files to train on them")
    drag(page, "dragleave", "html")
    expect(zone).to_be_hidden()
    drag(page, "dragenter", "h1")
    assert drag(page, "drop", "h1")
    expect(page.get_by_role("alert")).to_have_text("The file is empty.")
    expect(zone).to_contain_text("nothing.csv")
    desk.complaints.clear()


def test_a_page_of_one_record_has_its_name_in_the_title(desk: Desk):
    desk.open("/runs")
    page = desk.open("/models/7")
    expect(page).to_have_title("Version 7 · dropforge")
    desk.complaints.clear()


def test_a_file_dropped_by_dragging_is_followed_on_the_graph_approved_and_predicted_with(
    desk: Desk, stack: Stack, data: Path
):
    machine = stack.outputs["TrainingStateMachine"].rsplit(":", 1)[-1]
    stack.host.inject(machine, "TrainModel", "hold_before")
    page = desk.open("/runs")
    drop(page, data, "patients.csv")
    page.wait_for_url("**/runs/patients-*")
    graph = page.locator(".state-graph")
    expect(graph.locator(NODE.format("AdmitRun"))).to_have_attribute("data-tone", "ok")
    expect(graph.locator(NODE.format("TrainModel"))).to_have_attribute("data-tone", "run")
    stack.host.clear_faults()
    expect(graph.locator(NODE.format("AwaitApproval"))).to_have_attribute("data-tone", "warn")
    expect(graph.locator(NODE.format("DeployModel"))).to_have_attribute("data-tone", "")
    expect(page.get_by_text("Version 1 waits for your decision.")).to_be_visible()

    graph.locator(NODE.format("PrepareData")).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="PrepareData")).to_be_visible()
    expect(page.get_by_label("Output")).to_contain_text('"kept": 569')
    expect(page.locator(".log-message", has_text="prepared")).to_be_visible()

    page.get_by_role("link", name="Look at it and decide").click()
    page.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why?").fill("as good as it gets")
    dialog.get_by_role("button", name="Approve and deploy").click()
    expect(page.get_by_text("Version 1 is approved")).to_be_visible()

    page.get_by_role("link", name="Its run").click()
    expect(page.locator(".timeline")).to_contain_text("Version 1 approved")
    expect(page.locator(".timeline")).to_contain_text("as good as it gets")
    expect(page.locator(".tab", has_text="Deployment")).to_contain_text("succeeded")
    expect(page.locator(".page-head .chip")).to_have_text("succeeded")
    run = stack.wait_for_run(RunStatus.SUCCEEDED)
    assert page.url.endswith(run.run_id)
    page.reload()
    expect(graph.locator(NODE.format("PromoteModel"))).to_have_attribute("data-tone", "ok")
    asked = page.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    assert not [each for each in asked if "mermaid" in each], "the graph was laid out again"

    page.get_by_role("link", name="Try it").click()
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_text("prediction id")).to_be_visible()


def test_what_became_of_each_file_is_listed_with_what_brings_it_back(desk: Desk, stack: Stack, data: Path):
    stack.live_or_first(data)
    runs, _ = stack.counts()
    stack.drop(b"radius\n1\n", "broken.csv")
    stack.wait_for_failed_run(runs + 1)
    page = desk.open("/runs")
    page.get_by_role("link", name="What became of each dropped file").click()
    broken = page.get_by_role("row", name="broken.csv")
    expect(broken).to_contain_text("set aside")
    expect(broken).to_contain_text("MissingTarget")
    expect(page.get_by_role("row", name="trained").first).to_be_visible()
    expect(page.get_by_text("1 set aside")).to_be_visible()
    for words in ("dropforge runs start --data last-run", DATA["last-run"], "dropforge drops retry FILE"):
        expect(page.get_by_text(words, exact=True)).to_be_visible()
    assert_fit_and_free_of_barriers(desk, [("/drops", "tbody")], [("light", NARROW), ("dark", WIDE)])


def test_the_pages_fit_the_screen_and_have_no_serious_barrier(desk: Desk, stack: Stack, data: Path):
    run_id = stack.live_or_first(data).run_id
    pages = (("/", ".live-model"), ("/runs", "tbody"), (f"/runs/{run_id}", "g.node"))
    assert_fit_and_free_of_barriers(desk, pages, [("light", NARROW), ("dark", WIDE)])


def test_the_chosen_theme_is_remembered(desk: Desk):
    page = desk.open("/", theme="light")
    expect(page.locator("body.body--light")).to_be_attached()
    page.get_by_role("button", name="Switch between dark and light").click()
    expect(page.locator("body.body--dark")).to_be_attached()
    page.goto(desk.url + "runs")
    expect(page.locator("body.body--dark")).to_be_attached()


def test_the_keyboard_skips_the_navigation(desk: Desk):
    page = desk.open("/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(".drop-input")).to_be_focused()
