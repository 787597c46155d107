"""What became of the data, on the pages where it is decided on: a churn table as people export it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from dropforge.domain.data_report import TITLE
from dropforge_local.host import LocalHost
from tests.browser.beds import ROOT
from tests.browser.desk import NARROW, WIDE, Desk, assert_fit_and_free_of_barriers
from tests.churn_file import TARGET, churn_csv
from tests.workflow.stack import Stack


@pytest.fixture(scope="module")
def churn(host: LocalHost) -> Stack:
    """A live version, and one that waits, of another month."""
    stack = Stack(host, "churn", {"TargetColumn": TARGET}, ROOT / "template.yaml")
    stack.train_and_deploy(churn_csv(rows=1_200), "january.csv")
    stack.drop(churn_csv(seed=8, rows=800), "february.csv")
    stack.wait_for_version(2)
    return stack


@pytest.fixture
def churn_desk(browser: Browser, churn: Stack, serve: Callable[[str], str]) -> Iterator[Desk]:
    opened = Desk(browser, serve(churn.name))
    yield opened
    opened.close()
    assert opened.complaints == []


def test_pages_and_question_tell_what_became_of_the_data(churn_desk: Desk, churn: Stack):
    run_id = churn.ledger.list_models()[0].run_id
    for path in (f"/runs/{run_id}", "/models/2"):
        page = churn_desk.open(path)
        card = page.locator("section.card", has=page.get_by_role("heading", name=TITLE))
        expect(card).to_contain_text("2,000 rows read, 2,000 kept.")
        expect(card.get_by_role("region", name="Files")).to_contain_text("february.csv")
        columns = card.get_by_role("region", name="Columns")
        expect(columns.get_by_role("row", name="balance")).to_contain_text(
            "amounts in $ with a thousands separator"
        )
        expect(columns.get_by_role("row", name="comment")).to_contain_text("learned from by its words")
        expect(columns.get_by_role("row", name="joined").locator(".histogram")).to_be_visible()
        expect(card).to_contain_text("What differs from version 1")
        expect(card).to_contain_text("2,000 rows kept; 1,200 in version 1.")
    page.get_by_role("button", name="Approve", exact=True).click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("with values are not used")
    expect(question).to_contain_text("'column_1' is not used")
    question.get_by_role("button", name="Cancel").click()
    looks = [("light", WIDE), ("dark", NARROW), ("dark", WIDE)]
    pages = [(f"/runs/{run_id}", ".histogram"), ("/models/2", ".histogram")]
    assert_fit_and_free_of_barriers(churn_desk, pages, looks)
