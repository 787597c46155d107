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
from dropforge_local.host import LocalHost
from dropforge_ops.samples import write_samples
from tests.faults.bed import SAMPLE, WAIT_SCALE, Bed
from tests.faults.cells import ROOT
from tests.faults.soundness import settle
from tests.workflow.stack import wait_for

# On average five drops a second, which come while others are admitted and trained on.
_LONGEST_PAUSE_S = 3.0
_REPETITIONS = 4


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
    """Drop, deliver many of the events again, wait until all is quiet, and look at what came of it."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="dropforge-drops-") as folder,
        LocalHost(ROOT, wait_scale=WAIT_SCALE) as host,
    ):
        write_samples(Path(folder))
        bed = Bed(host, "drops", Path(folder) / f"{SAMPLE}.csv")
        try:
            seen = _Deliveries(bed, seed)
            failing = _Failures(bed, seed)
            versions = _drop_all(bed, drops, clients, seed)
            seen.finish(drops)
            failing.finish()
            _train_on_what_waits(bed)
            outcome = _judge(bed, versions, seen.again)
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
    """Has one run in three fail, half of them by what a repetition would mend."""

    def __init__(self, bed: Bed, seed: int) -> None:
        self._bed = bed
        self._chance = random.Random(f"{seed}-failures")  # noqa: S311 - a simulation's randomness
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
        while not self._ended.wait(0.2):
            for run in self._bed.stack.ledger.list_runs(limit=5):
                if run.run_id not in known:
                    known.add(run.run_id)
                    if self._chance.random() < 1 / 3:
                        error = self._chance.choice(("AccessDenied", "Lambda.ServiceException"))
                        self._bed.host.inject(
                            self._bed.machine("training"), "JudgeModel", "before", error=error, times=9
                        )
                    else:
                        self._bed.host.clear_faults()


def _train_on_what_waits(bed: Bed) -> None:
    """What no repetition mends waits until somebody has mended it, and starts a run."""

    def nothing_waits() -> bool:
        if bed.executions("training", statusFilter="RUNNING"):
            return False
        if not bed.stack.ledger.waiting_drops():
            return True
        bed.stack.start(trigger="manual")
        return False

    wait_for("end of what waits", nothing_waits, 300)


class _Deliveries:
    """Delivers each event four times more while the clients drop, after a random delay."""

    def __init__(self, bed: Bed, seed: int) -> None:
        self._bed = bed
        self._chance = random.Random(seed)  # noqa: S311 - a simulation's randomness
        self._known: set[str] = set()
        self._ended = threading.Event()
        self._due: list[tuple[float, str]] = []
        self.again = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def finish(self, drops: int) -> None:
        """Wait until every drop's own execution was seen and every repetition was delivered."""
        wait_for("delivery of every drop", lambda: len(self._known) >= drops, 180)
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not (self._ended.is_set() and not self._due):
            self._look()
            now = time.monotonic()
            for moment, event in list(self._due):
                if moment <= now:
                    self._due.remove((moment, event))
                    self._bed.stack.stepfunctions.start_execution(
                        stateMachineArn=self._bed.machine_arn("training"), input=event
                    )
                    self.again += 1
            time.sleep(0.5)

    def _look(self) -> None:
        for arn in self._bed.executions("training"):
            if arn in self._known:
                continue
            event = self._bed.stack.execution(arn)["input"]
            document = json.loads(event)
            if document.get("source") != "aws.s3":
                continue
            identity = document["detail"]["object"]["version-id"]
            if identity in self._known:
                self._known.add(arn)
                continue
            self._known |= {arn, identity}
            for _ in range(_REPETITIONS):
                self._due.append((time.monotonic() + self._chance.uniform(0, 30), event))


def _judge(bed: Bed, versions: set[str], again: int) -> Simulation:
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
    executions = bed.executions("training")
    intervals = sorted(each for arn in executions for each in _training_intervals(bed, arn))
    for (_, end, first), (start, _, second) in itertools.pairwise(intervals):
        if start < end:
            problems.append(f"{first} and {second} trained at the same time")
    return Simulation(
        drops=len(versions),
        deliveries=len(versions) + again,
        executions=dict(Counter(_kind(bed, arn) for arn in executions)),
        runs=dict(Counter(str(run.status) for run in runs)),
        problems=problems,
    )


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
