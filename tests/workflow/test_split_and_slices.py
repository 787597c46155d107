"""Rows that are split by time and group, judged for the class that is looked for, and guarded by region."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dropforge.domain.contract import Contract
from dropforge.domain.verdicts import Verdict
from tests.workflow.stack import Stack

SCALE_OUT_MEGABYTES = "0.1"
"""More than the first drop, and less than both: the second run prepares in chunks."""
ROWS, CUSTOMERS = 1400, 500


def payments(since: int) -> bytes:
    """Payments of customers, a third of them fraud, from so many days after the first of January."""
    rng = random.Random(since)  # noqa: S311 - a sample
    lines = ["customer,at,region,amount,hour,label"]
    for row in range(ROWS):
        fraud = rng.random() < 0.35
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=since + 100 * row / ROWS)
        customer = f"c{rng.randrange(CUSTOMERS) + since * 10:05d}"
        region = rng.choice(["north", "south", "west", ""])
        amount, hour = rng.gauss(90 if fraud else 50, 15), rng.gauss(3 if fraud else 12, 5)
        lines.append(
            f"{customer},{at:%Y-%m-%dT%H:%M:%S}Z,{region},{amount:.2f},{hour:.1f},"
            f"{'fraud' if fraud else 'legit'}"
        )
    return "\n".join(lines).encode()


def test_a_model_is_judged_on_newer_rows_of_other_customers_for_the_class_that_is_looked_for_in_every_region(
    deploy: Callable[..., Stack],
) -> None:
    stack = deploy(
        TargetColumn="label",
        GroupColumn="customer",
        SplitColumn="at",
        PositiveClass="fraud",
        QualityMetric="recall",
        QualityThreshold="0.6",
        GuardedColumns="region",
        SmallGuardedSlices="report",
        ScaleOutMegabytes=SCALE_OUT_MEGABYTES,
        ScaleOutChunkMegabytes="0.06",
    )
    live = stack.train_and_deploy(payments(0), "january.csv")
    stack.wait_for_run_of(live)
    first = stack.ledger.list_models()[0]
    contract = Contract.from_json(stack.read(first.contract_uri))
    assert (contract.positive, contract.guarded) == ("fraud", ("region",))
    assert live.metric["positive_class"] == "fraud"
    judged = stack.read_json(first.judgement_uri)
    assert judged["reasons"][0]["message"].startswith("recall of 'fraud'")
    assert {each["label"] for each in judged["slices"] if each["guarded"]} >= {"north", "south", "(missing)"}
    assert {each["verdict"] for each in judged["slices"]} == {None}
    started = boundaries(stack, first.run_id)
    assert moved(stack) == {"format": 1, **started, "run_id": first.run_id}
    (answer,) = stack.predict([{"region": "north", "amount": 95.0, "hour": 2.0}])
    assert answer["label"] == "fraud"
    # It reads the slices that the live model was judged in, though nobody has asked it by the API yet.
    assert stack.invoke("WatchModel")["verdict"] == "not_enough_data"

    stack.drop(payments(120), "may.csv")
    second = stack.wait_for_version(2)
    judged = stack.read_json(second.judgement_uri)
    assert judged["champion"]["scored"]
    assert Verdict.of(judged) is Verdict.ACCEPTED
    verdicts = {each["label"]: each["verdict"] for each in judged["slices"] if each["guarded"]}
    assert set(verdicts.values()) <= {"holds", "cant_say"}
    assert judged["guarded"]["compared"] == list(verdicts.values()).count("holds")
    assert boundaries(stack, second.run_id)["test_from"] > started["test_from"]
    assert moved(stack)["run_id"] == second.run_id
    message = stack.wait_for_notification("approval-needed", saying="trained version 2")["Message"]
    assert "Guarded slices: recall of 'fraud' from" in message


def boundaries(stack: Stack, run_id: str) -> dict[str, object]:
    report = stack.read_json(f"s3://{stack.bucket}/runs/{run_id}/report.json")
    return dict(report["split"]["boundaries"])


def moved(stack: Stack) -> dict[str, object]:
    return dict(stack.read_json(f"s3://{stack.bucket}/contract/boundaries.json"))
