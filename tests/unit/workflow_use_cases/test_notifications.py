"""What people are told: each message whole, as its reader gets it, and within what SNS takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.records import a_run, a_version

from dropforge.domain.notifications import (
    LONGEST_SUBJECT,
    LONGEST_TEXT,
    Notification,
    approval_needed,
    approval_overdue,
    approval_reminder,
    batch_failed,
    batch_scored,
    batch_stopped,
    deployment_failed,
    endpoint_gap,
    promoted,
    restore_failed,
    run_ended,
    run_failed,
)
from dropforge.domain.records import RunStatus

WAITING = a_version(
    3,
    run_id="march-4412189d074b",
    metric={"name": "auc", "value": 0.99421},
    model_package_arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/3",
    due_at="2026-03-09T08:30:00.000Z",
)
UNJUDGED = a_version(3, metric={"name": "auc", "value": None})
RUN = a_run(run_id="march-4412189d074b")
DECISION = {"version": 3, "by": "ann", "reason": "not better where it matters"}


def test_reviewers_are_told_what_waits_how_good_it_is_and_how_to_decide():
    told = approval_needed(
        "churn", WAITING, ["What became of your data:", "569 rows read."], "One file waits."
    )
    assert told.kind == "approval-needed"
    assert told.subject == "Version 3 of churn is waiting for approval"
    assert (
        told.message
        == """\
Run march-4412189d074b trained version 3 of churn: auc 0.9942 on the hold-out.

What became of your data:
569 rows read.

One file waits.

Approve or reject it in SageMaker Studio, in the dropforge console, or with:
  dropforge approve 3
  dropforge reject 3 --reason TEXT

arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/3"""
    )
    assert "\n\n\n" not in approval_needed("churn", WAITING, [], "").message


def test_reviewers_are_reminded_until_when():
    told = approval_reminder("churn", WAITING)
    assert (told.kind, told.subject) == (
        "approval-reminder",
        "Reminder: version 3 of churn is waiting for approval",
    )
    assert (
        told.message
        == """\
Version 3 of churn is still waiting for approval (auc 0.9942 on the hold-out). Its run ends on \
2026-03-09 08:30 UTC if nobody has decided by then.
  dropforge approve 3
  dropforge reject 3 --reason TEXT"""
    )
    assert "still waiting for approval.\n" in approval_reminder("churn", UNJUDGED).message


def test_reviewers_who_were_late_are_told_that_they_may_still_approve():
    told = approval_overdue("churn", WAITING)
    assert (told.kind, told.subject) == (
        "approval-overdue",
        "Overdue: nobody decided on version 3 of churn",
    )
    assert (
        told.message
        == """\
Nobody approved or rejected version 3 of churn by 2026-03-09 08:30 UTC, so its run has ended. \
The live model stays. You can still approve the version, which deploys it:
  dropforge approve 3"""
    )


def ended(status, run=RUN, decision=None, drops="", data=""):
    return run_ended("churn", status, run, decision=decision, drops=drops, data=data)


def test_owners_are_told_why_the_gate_said_no():
    reasons = [
        {"code": "ThresholdMissed", "message": "auc 0.61 is below the threshold 0.7."},
        {"code": "TooFewRows", "message": "31 rows are fewer than 100."},
    ]
    run = a_run(run_id="march-4412189d074b", metric={"name": "auc", "value": 0.61}, reasons=reasons)
    told = ended(
        RunStatus.REJECTED_BY_GATE, run, drops="One file waits.", data="What became of your data:\nx"
    )
    assert (told.kind, told.subject) == ("rejected-by-gate", "The gate rejected a candidate for churn")
    assert (
        told.message
        == """\
The gate rejected the candidate of run march-4412189d074b (auc 0.61 on the hold-out):
- auc 0.61 is below the threshold 0.7.
- 31 rows are fewer than 100.

What became of your data:
x

One file waits.

The live model stays."""
    )
    near = {"name": "auc", "value": 0.69996, "threshold": 0.7}
    assert "(auc 0.69996 on" in ended(RunStatus.REJECTED_BY_GATE, a_run(metric=near)).message
    unjudged = a_run(metric={"name": "auc", "value": None}, reasons=reasons)
    assert "on the hold-out" not in ended(RunStatus.REJECTED_BY_GATE, unjudged).message


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (DECISION, "was rejected by ann: not better where it matters"),
        ({**DECISION, "reason": None}, "was rejected by ann."),
        ({**DECISION, "by": None}, "was rejected: not better where it matters"),
        ({"version": 3, "by": None, "reason": None}, "was rejected."),
    ],
)
def test_owners_are_told_who_rejected_a_version_and_why(decision, said):
    told = ended(RunStatus.REJECTED, decision=decision)
    assert (told.kind, told.subject) == ("rejected", "Version 3 of churn was rejected")
    assert told.message == f"Version 3 of churn {said}\n\nThe live model stays."


def test_owners_are_told_that_a_run_was_stopped():
    told = ended(RunStatus.STOPPED)
    assert (told.kind, told.subject) == ("stopped", "A run of churn was stopped")
    assert "start one with 'dropforge runs start'" in told.message


@pytest.mark.parametrize("status", [RunStatus.REPLAYED, RunStatus.SUPERSEDED])
def test_nobody_is_told_what_they_know(status):
    assert ended(status, decision=DECISION) is None


def test_owners_are_told_what_broke_and_what_became_of_their_files():
    error = {"class": "EmptyData", "message": "s3://b/x.csv has no rows. Drop a file that has some."}
    told = run_failed("churn", error, run_id="march-1", execution_arn="arn:x", drops="x.csv was set aside.")
    assert (told.kind, told.subject) == ("run-failed", "A run of churn failed: EmptyData")
    assert (
        told.message
        == """\
Run march-1 failed with EmptyData: s3://b/x.csv has no rows. Drop a file that has some.

x.csv was set aside.

The dropped files are unchanged, and the live model keeps serving.

Execution: arn:x"""
    )
    before = run_failed("churn", error, run_id=None, execution_arn="arn:x", drops="")
    assert before.message.startswith("A start of a run failed with EmptyData")


FILE = "s3://b/batch/in/may.csv"


@pytest.mark.parametrize(
    ("scored", "rejected", "said"),
    [
        (12_345, 0, f"Version 3 of churn scored 12,345 rows of {FILE}."),
        (1, 1, f"Version 3 of churn scored 1 row of {FILE}. 1 row breaks its contract and was not scored."),
        (2, 7, f"Version 3 of churn scored 2 rows of {FILE}. 7 rows break its contract and were not scored."),
    ],
)
def test_owners_are_told_what_was_scored_and_where_the_result_is(scored, rejected, said):
    told = batch_scored(
        "churn", FILE, 3, scored=scored, rejected=rejected, result_uri="s3://r", manifest_uri="s3://m"
    )
    assert (told.kind, told.subject) == ("batch-scored", "A batch was scored by churn")
    assert told.message == f"{said}\n\nResult: s3://r\nCounts, reasons and digest: s3://m"


def test_owners_are_told_that_a_batch_was_stopped():
    told = batch_stopped("churn", FILE)
    assert (told.kind, told.subject) == ("batch-stopped", "A batch of churn was stopped")
    assert told.message == (
        f"{FILE} was not scored, because its transform job was stopped. To score it, drop the file again."
    )


def test_owners_are_told_why_a_batch_could_not_be_scored():
    error = {"class": "UnscorableBatch", "message": "column 'dose' is missing."}
    remedy = "The file is unchanged. Once the cause is fixed, drop it again."
    told = batch_failed("churn", FILE, error, execution_arn="arn:x", remedy=remedy)
    assert (told.kind, told.subject) == ("batch-failed", "A batch of churn failed: UnscorableBatch")
    assert (
        told.message
        == f"""\
{FILE} could not be scored. UnscorableBatch: column 'dose' is missing.

The file is unchanged. Once the cause is fixed, drop it again.

Execution: arn:x"""
    )


def test_owners_are_told_of_a_gap_before_it_begins():
    told = endpoint_gap("churn", 3, "churn-endpoint", "serverless")
    assert told.kind == "endpoint-gap"
    assert told.subject == "The endpoint of churn becomes serverless: no answers for some minutes"
    assert "created again with version 3" in told.message
    assert "503 (EndpointMissing)" in told.message


@pytest.mark.parametrize(
    ("by", "previous", "said"),
    [
        ("ann", 2, "(approval, by ann). It replaced version 2."),
        (None, None, "(approval)."),
        (None, 3, "(approval)."),
    ],
)
def test_owners_are_told_what_is_live(by, previous, said):
    told = promoted("churn", 3, "e", reason="approval", requested_by=by, previous_version=previous)
    assert (told.kind, told.subject) == ("promoted", "Version 3 of churn is live")
    assert told.message == f"Version 3 of churn is live on the endpoint e {said}"


def test_owners_are_told_at_once_that_an_endpoint_needs_them():
    told = restore_failed("churn", 3, "e", "e-v2-7")
    assert (told.kind, told.subject) == (
        "restore-failed",
        "URGENT: the endpoint of churn could not be restored",
    )
    assert "the endpoint e could not be brought back to e-v2-7." in told.message


@pytest.mark.parametrize(
    ("is_restored", "is_replaced", "said"),
    [
        (True, False, "What was live before keeps serving."),
        (True, True, "What was live before serves again, on an endpoint that was created anew."),
        (False, True, "The endpoint could not be brought back to what was live before."),
    ],
)
def test_owners_are_told_why_a_deployment_failed_and_what_serves(is_restored, is_replaced, said):
    error = {"class": "SmokeTestFailed", "message": "row 1 differs."}
    told = deployment_failed(
        "churn", error, version=3, execution_arn="arn:x", is_restored=is_restored, is_replaced=is_replaced
    )
    assert (told.kind, told.subject) == ("deployment-failed", "A deployment of churn failed: SmokeTestFailed")
    assert (
        told.message
        == f"""\
The deployment of version 3 failed with SmokeTestFailed: row 1 differs.

{said}

Execution: arn:x"""
    )
    before = deployment_failed(
        "churn", error, version=None, execution_arn="arn:x", is_restored=True, is_replaced=False
    )
    assert before.message.startswith("A deployment failed with SmokeTestFailed")


@given(st.text("ab \n\r\t\u2028\x85", max_size=200), st.integers(0, 40_000).map("x".__mul__))
def test_whatever_is_told_fits_into_what_sns_takes(subject, message):
    told = Notification("kind", subject, message)
    assert len(told.subject) <= LONGEST_SUBJECT
    assert "".join(told.subject.splitlines()) == told.subject
    assert len(told.message) <= LONGEST_TEXT


def test_of_what_is_too_long_the_end_stays_which_says_what_to_do():
    notes = [f"column {number} has other values" for number in range(2000)]
    told = approval_needed("churn", WAITING, notes, "")
    assert told.message.startswith("Run march-4412189d074b trained version 3")
    assert "characters are left out here" in told.message
    assert "dropforge reject 3 --reason TEXT" in told.message
