"""200 drops from 8 clients, delivered 1,000 times in any order while a third of the runs fails."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dropforge.domain.drop_life import DropState, newest_of_each_key
from dropforge.domain.records import RunStatus
from dropforge.domain.run_manifest import RunManifest
from dropforge_local.host import LocalHost
from dropforge_ops.stack.samples import write_samples
from tests.faults.bed import SAMPLE, WAIT_SCALE, Bed
from tests.faults.cells import ROOT
from tests.faults.soundness import settle
from tests.workflow.stack import wait_for

# On average five drops a second, which come while others are admitted and trained on.
_LONGEST_PAUSE_S = 3.0
_DELIVERIES = 5
# Some ten seconds of drops, among which the next delivery is drawn.
_HELD_BACK = 250
_ERRORS = ("Lambda.ServiceException", "AccessDenied")
_INCOMING = "incoming/"


@dataclass
class Simulation:
    """What came of the drops."""

    drops: int = 0
    deliveries: int = 0
    executions: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.problems


def simulate(drops: int = 200, clients: int = 8, seed: int = 1) -> Simulation:
    """Drop, deliver each event five times in any order, wait until all is quiet, look at what came of it."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="dropforge-drops-") as folder,
        LocalHost(ROOT, wait_scale=WAIT_SCALE) as host,
    ):
        write_samples(Path(folder))
        bed = Bed(host, "drops", Path(folder) / f"{SAMPLE}.csv")
        try:
            seen = _Deliveries(bed, seed)
            failing = _Failures(bed)
            versions = _drop_all(bed, drops, clients, seed)
            seen.finish(drops)
            failing.finish()
            _train_on_what_waits(bed)
            outcome = _judge(bed, versions, seen.made)
        finally:
            bed.close()
    outcome.seconds = time.monotonic() - started
    return outcome


def _drop_all(bed: Bed, drops: int, clients: int, seed: int) -> set[str]:
    """Have the clients drop at random moments, often under a name that another one uses; the versions."""
    versions: set[str] = set()
    content, lock = bed.data.read_bytes(), threading.Lock()

    def client(number: int) -> None:
        chance = random.Random(f"{seed}-{number}")  # noqa: S311 - a simulation's randomness
        for _ in range(number, drops, clients):
            time.sleep(chance.uniform(0, _LONGEST_PAUSE_S))
            version = bed.stack.drop(content, f"part-{chance.randrange(drops // 4)}.csv")
            with lock:
                versions.add(version)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return versions


class _Failures:
    """Has every third run fail, by turns by what a repetition would mend and by what none does."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def finish(self) -> None:
        """Let no other run fail."""
        self._ended.set()
        self._thread.join()
        self._bed.host.clear_faults()

    def _work(self) -> None:
        known: set[str] = set()
        while not self._ended.wait(0.1):
            # One trains at a time, so the newest is the one whose model will be judged next.
            for run in reversed(self._bed.stack.ledger.list_runs(limit=5)):
                if run.run_id in known:
                    continue
                known.add(run.run_id)
                self._bed.host.clear_faults()
                if len(known) % 3 == 0:
                    error = _ERRORS[len(known) // 3 % len(_ERRORS)]
                    machine = self._bed.machine("training")
                    self._bed.host.inject(machine, "JudgeModel", "before", error=error, times=9)


def _train_on_what_waits(bed: Bed) -> None:
    """What no repetition mends waits until somebody has mended it, and starts a run."""

    def nothing_waits() -> bool:
        runs = bed.stack.runs()
        awaiting = {each.execution_arn for each in runs if each.status is RunStatus.AWAITING_APPROVAL}
        if set(bed.executions("training", statusFilter="RUNNING")) - awaiting:
            return False
        if not bed.stack.ledger.waiting_drops():
            return True
        bed.stack.start(trigger="manual")
        return False

    wait_for("end of what waits", nothing_waits, 300)


class _Deliveries:
    """Takes S3's events in the place of the stack's rule, and delivers each five times, in any order."""

    def __init__(self, bed: Bed, seed: int) -> None:
        self._bed = bed
        self._chance = random.Random(seed)  # noqa: S311 - a simulation's randomness
        self._queue = self._divert()
        self._pool: list[str] = []
        self._received: set[str] = set()
        self._ended = threading.Event()
        self.made = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def finish(self, drops: int) -> None:
        """Wait until the event of every drop has come and was delivered as often as it is to be."""
        wait_for("event of every drop", lambda: len(self._received) >= drops, 180)
        self._ended.set()
        self._thread.join()

    def _divert(self) -> str:
        events, sqs = self._bed.host.client("events"), self._bed.stack.sqs
        rule = self._bed.stack.resource("TrainingStateMachineDrop").rpartition("/")[2]
        queue: str = sqs.create_queue(QueueName=f"{self._bed.name}-deliveries")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name="deliveries", EventPattern=events.describe_rule(Name=rule)["EventPattern"])
        events.put_targets(Rule="deliveries", Targets=[{"Id": "queue", "Arn": arn}])
        events.disable_rule(Name=rule)
        return queue

    def _work(self) -> None:
        while not (self._ended.is_set() and not self._pool):
            self._receive()
            # Until the last has come some are held back, so that any may overtake any other.
            if len(self._pool) > (0 if self._ended.is_set() else _HELD_BACK):
                event = self._pool.pop(self._chance.randrange(len(self._pool)))
                self._bed.stack.stepfunctions.start_execution(
                    stateMachineArn=self._bed.machine_arn("training"), input=event
                )
                self.made += 1
            else:
                time.sleep(0.05)

    def _receive(self) -> None:
        if self._ended.is_set():
            return
        sqs = self._bed.stack.sqs
        for message in sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", []):
            self._received.add(json.loads(message["Body"])["detail"]["object"]["version-id"])
            self._pool += [message["Body"]] * _DELIVERIES
            sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])


def _judge(bed: Bed, versions: set[str], deliveries: int) -> Simulation:
    problems = settle(bed, within_s=300)
    runs = bed.stack.ledger.list_runs(limit=1000)
    drops = {each.drop.version_id: each for each in bed.stack.ledger.list_drops()}
    problems += [f"version {version} is lost" for version in sorted(versions - drops.keys())]
    newest = newest_of_each_key(drops.values())
    problems += [
        f"the newest version of {key} is {each.state}"
        for key, each in newest.items()
        if each.state is not DropState.TRAINED
    ]
    problems += _not_the_newest(bed)
    if len([run for run in runs if run.status is RunStatus.FAILED]) < len(runs) // 6:
        problems.append("hardly any run failed")
    executions = bed.executions("training")
    intervals = sorted(each for arn in executions for each in _training_intervals(bed, arn))
    for (_, end, first), (start, _, second) in itertools.pairwise(intervals):
        if start < end:
            problems.append(f"{first} and {second} trained at the same time")
    return Simulation(
        drops=len(versions),
        deliveries=deliveries,
        executions=dict(Counter(_kind(bed, arn) for arn in executions)),
        runs=dict(Counter(str(run.status) for run in runs)),
        problems=problems,
    )


def _not_the_newest(bed: Bed) -> list[str]:
    """Of which objects a run on all data would not train on the version that S3 calls the latest."""
    execution = bed.started_by("training", lambda: bed.stack.start(trigger="manual", data="all"))
    bed.wait_for_run(execution, "awaiting_approval")
    run = bed.run_of(execution)
    if run is None:
        return ["there was no run on all data"]
    manifest = RunManifest.from_dict(bed.stack.read_json(run.manifest_uri))
    pages = bed.stack.s3.get_paginator("list_object_versions").paginate(
        Bucket=bed.stack.bucket, Prefix=_INCOMING
    )
    versions = [each for page in pages for each in page["Versions"]]
    latest = {each["Key"]: each["VersionId"] for each in versions if each["IsLatest"]}
    chosen = {each.key: each.version_id for each in manifest.refs}
    return [f"not the newest version of {key} is chosen" for key in latest if chosen.get(key) != latest[key]]


def _kind(bed: Bed, execution: str) -> str:
    entered = set(bed.stack.states(execution))
    return "trained" if "TrainModel" in entered else "had nothing to do"


def _training_intervals(bed: Bed, execution: str) -> list[tuple[float, float, str]]:
    """When the execution was in TrainModel, in epoch seconds."""
    pages = bed.stack.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=execution)
    intervals, entered = [], 0.0
    for event in (each for page in pages for each in page["events"]):
        if event.get("stateEnteredEventDetails", {}).get("name") == "TrainModel":
            entered = event["timestamp"].timestamp()
        if event.get("stateExitedEventDetails", {}).get("name") == "TrainModel":
            intervals.append((entered, event["timestamp"].timestamp(), execution))
    return intervals


def describe(outcome: Simulation) -> str:
    """The counts in a few lines."""
    runs = ", ".join(f"{number} {status}" for status, number in sorted(outcome.runs.items()))
    executions = ", ".join(f"{number} {kind}" for kind, number in sorted(outcome.executions.items()))
    verdict = "no version is lost, the newest of each object was trained on, and never did two train at once"
    return (
        f"{outcome.drops} drops from 8 clients, {outcome.deliveries} deliveries, in {outcome.seconds:.0f} s\n"
        f"  executions: {executions}\n"
        f"  runs: {runs}\n"
        f"  {verdict if outcome.passed else 'FAIL: ' + '; '.join(outcome.problems[:5])}"
    )
