"""One run as it happens: its state machines with what each state is at, and its way from drop to decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.domain.drop_life import RecordedDrop
from dropforge.domain.moments import from_iso
from dropforge.domain.records import Approval, ModelVersion, Run, RunStatus
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.contracts import Contracts, difference
from dropforge_ops.actions.drops import drops_taken
from dropforge_ops.console.reading.models import Judged
from dropforge_ops.console.reading.run_files import RunFile, files_of
from dropforge_ops.console.reading.state_graph import StateGraph, Step
from dropforge_ops.console.reading.told_data import ToldData, read_told_data
from dropforge_ops.errors import NotFound, code_of
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.progress import Follower, Visit
from dropforge_ops.stack.target import Target
from dropforge_ops.stack.training_jobs import TrainingJob, read_training_jobs

FORGOTTEN: Final = "forgotten by Step Functions"
# Each costs a request for the time of its upload; a run may cover thousands.
_DROPS_SHOWN: Final = 10
# A run may take thousands.
_DROPS_READ: Final = 500


class Progress(StrEnum):
    """How one state stands."""

    AHEAD = "not reached"
    NOW = "running"
    WAITING = "waiting for a decision"
    DONE = "done"
    WENT_ON = "done, went on after an error"
    CAUGHT = "failed, was caught"
    FAILED = "failed"


@dataclass(frozen=True)
class StateProgress:
    """How one state stands: ``seconds`` over all stays that have ended, ``errors`` failed attempts."""

    progress: Progress
    stays: int
    errors: int
    seconds: float | None


@dataclass(frozen=True)
class MachineView:
    """One execution on the graph of the definition that it runs by."""

    title: str
    arn: str
    status: str
    graph: StateGraph
    states: Mapping[str, StateProgress]
    steps: tuple[tuple[str, str], ...]

    @property
    def visited(self) -> frozenset[str]:
        return frozenset(self.states)

    @property
    def current(self) -> str | None:
        """The state to look at: the one that runs, or where the execution ended."""
        at = (Progress.NOW, Progress.WAITING)
        names = [name for name, each in self.states.items() if each.progress in at] or list(self.states)
        return names[-1] if names else None


@dataclass(frozen=True)
class SeenDrop:
    """A file that a run covers, and when it was written."""

    name: str
    uri: str
    at: datetime


@dataclass(frozen=True)
class Moment:
    """One entry of the time line. ``ended_at`` is None for what is but an instant, or lasts (``lasts``)."""

    title: str
    at: datetime
    ended_at: datetime | None = None
    lasts: bool = False
    detail: str = ""
    tone: str = "run"
    depth: int = 0


@dataclass(frozen=True)
class Proposal:
    """The contract that a run proposes in place of the pinned one: its hash, and a line for each change."""

    hash: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class RunView:
    """A run with its machines (training, then the deployment that it started) and its time line."""

    run: Run
    execution_status: str
    machines: tuple[MachineView, ...]
    timeline: tuple[Moment, ...]
    data: ToldData | None = None
    verdict: Judged | None = None
    proposal: Proposal | None = None
    files: tuple[RunFile, ...] = ()
    training_jobs: Sequence[TrainingJob] = ()

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it can change any more."""
        return self.run.status.is_final and self.execution_status != "RUNNING"


@dataclass
class RunFollowing:
    """Follows one run; every `look` asks only for what is new."""

    target: Target
    ledger: LedgerReader
    run_id: str
    _follower: Follower | None = None
    _graphs: dict[str, StateGraph] = field(default_factory=dict)
    _drops: list[SeenDrop] | None = None
    _is_forgotten: bool = False
    _data: ToldData | None = None
    _verdict: Judged | None = None
    _training_jobs: tuple[TrainingJob, ...] | None = None
    _looked_after: int = -1

    def look(self) -> RunView:
        """See how it stands.

        Raises:
            NotFound: there is no such run.
        """
        run = self.ledger.get_run(self.run_id)
        if run is None:
            raise NotFound(f"There is no run {self.run_id!r}. The list of runs names those there are.")
        if self._drops is None:
            taken = drops_taken(run, Documents(self.target.client("s3")))[:_DROPS_READ]
            self._drops = seen_drops(self.target.client("s3"), self.ledger.get_drops(taken))
        follower = self._followed(run)
        model = None if run.version is None else self.ledger.get_model(run.version)
        self._read_told(len(follower.all_visits))
        if self._training_jobs is None and run.status is not RunStatus.RUNNING:
            # Its jobs have ended, so they are read once.
            self._training_jobs = read_training_jobs(self.target, run.run_id) or ()
        return RunView(
            run=run,
            execution_status=FORGOTTEN if self._is_forgotten else follower.status,
            machines=tuple(self._machines(follower, run)),
            timeline=tuple(timeline(run, self._drops, model, follower.all_visits)),
            data=self._data,
            verdict=self._verdict,
            proposal=self._proposal(run),
            files=files_of(self.target, run.run_id) if run.status.is_final else (),
            training_jobs=self._training_jobs or (),
        )

    def _proposal(self, run: Run) -> Proposal | None:
        """What there is to accept; it is looked at once the run has ended."""
        if not run.status.is_final:
            return None
        stored = Contracts(self.target.client("s3"), self.target.bucket)
        proposed = stored.proposed_by(run.run_id)
        changes = [] if proposed is None else difference(stored.pinned(), proposed)
        return Proposal(proposed.contract.hash, tuple(changes)) if proposed and changes else None

    def _read_told(self, visits: int) -> None:
        """Read what became of the data, and the verdict; again only when another state has been entered."""
        if visits == self._looked_after:
            return
        self._looked_after = visits
        documents = Documents(self.target.client("s3"))
        if self._data is None:
            self._data = read_told_data(self.run_id, self.target.bucket, self.ledger, documents)
        if self._verdict is None:
            judged = documents.content(f"s3://{self.target.bucket}/models/{self.run_id}/judgement.json")
            self._verdict = None if judged is None else Judged.of(judged)

    def _followed(self, run: Run) -> Follower:
        if self._follower is None:
            self._follower = Follower(self.target.client("stepfunctions"), run.execution_arn)
        if not self._is_forgotten:
            try:
                self._follower.look()
            except ClientError as error:
                if code_of(error) != "ExecutionDoesNotExist":
                    raise
                self._is_forgotten = True
        return self._follower

    def _machines(self, follower: Follower, run: Run) -> list[MachineView]:
        if self._is_forgotten:
            return []
        found = [
            machine_view("Training" if follower.depth == 0 else "Deployment", follower, self._graph(follower))
        ]
        for child in follower.children:
            found += self._machines(child, run)
        if run.status is RunStatus.AWAITING_APPROVAL and follower.depth == 0:
            found[0] = _awaiting(found[0])
        return found

    def _graph(self, follower: Follower) -> StateGraph:
        # The definition as it was when the execution started, whatever was deployed since.
        if follower.arn not in self._graphs:
            answer = self.target.client("stepfunctions").describe_state_machine_for_execution(
                executionArn=follower.arn
            )
            self._graphs[follower.arn] = StateGraph.of(answer["definition"])
        return self._graphs[follower.arn]


def seen_drops(s3: Any, drops: Sequence[RecordedDrop]) -> list[SeenDrop]:
    """The drops in the order of their coming; of the first ones the very time of their upload.

    The ledger knows when a drop was received, which is a little later; where the object is gone, that stays.
    """
    ordered = sorted(drops, key=lambda each: each.received_at)
    return [
        SeenDrop(
            name=each.drop.key.rsplit("/", 1)[-1],
            uri=f"s3://{each.drop.bucket}/{each.drop.key}",
            at=(_written_at(s3, each) if index < _DROPS_SHOWN else None) or from_iso(each.received_at),
        )
        for index, each in enumerate(ordered)
    ]


def _written_at(s3: Any, recorded: RecordedDrop) -> datetime | None:
    drop = recorded.drop
    version = {"VersionId": drop.version_id} if drop.version_id else {}
    try:
        answer = s3.head_object(Bucket=drop.bucket, Key=drop.key, **version)
    except ClientError as error:
        if code_of(error) not in ("404", "NoSuchKey", "NoSuchVersion", "NotFound", "405", "MethodNotAllowed"):
            raise
        return None
    written: datetime = answer["LastModified"]
    return written


def machine_view(title: str, follower: Follower, graph: StateGraph) -> MachineView:
    """An execution's stays, laid onto its graph."""
    visits = [each for each in follower.visits if each.name in graph.states]
    return MachineView(
        title=title,
        arn=follower.arn,
        status=follower.status,
        graph=graph,
        states=_progress(visits, follower.status, graph),
        steps=tuple(dict.fromkeys((a.name, b.name) for a, b in pairwise(visits))),
    )


def _progress(visits: Sequence[Visit], status: str, graph: StateGraph) -> dict[str, StateProgress]:
    caught = {(edge.source, edge.target) for edge in graph.edges if edge.step is Step.CATCH}
    ordinary = {(edge.source, edge.target) for edge in graph.edges if edge.step is not Step.CATCH}
    found: dict[str, StateProgress] = {}
    for index, visit in enumerate(visits):
        following = visits[index + 1].name if index + 1 < len(visits) else None
        step = (visit.name, following or "")
        if visit.left_at is None:
            progress = Progress.NOW
        elif following is None and status not in ("RUNNING", "SUCCEEDED"):
            progress = Progress.FAILED
        elif visit.errors and step in caught and step not in ordinary:
            # What an execution gets over was expected, such as an endpoint that isn't there yet.
            progress = Progress.WENT_ON if status in ("RUNNING", "SUCCEEDED") else Progress.CAUGHT
        else:
            progress = Progress.DONE
        before = found.pop(visit.name, StateProgress(progress, 0, 0, None))
        seconds = before.seconds
        if visit.left_at is not None:
            seconds = round((seconds or 0.0) + visit.seconds(), 3)
        found[visit.name] = StateProgress(progress, before.stays + 1, before.errors + visit.errors, seconds)
    return found


def _awaiting(machine: MachineView) -> MachineView:
    states = {
        name: replace(each, progress=Progress.WAITING) if each.progress is Progress.NOW else each
        for name, each in machine.states.items()
    }
    return replace(machine, states=states)


def timeline(
    run: Run, drops: Sequence[SeenDrop], model: ModelVersion | None, visits: Sequence[Visit]
) -> list[Moment]:
    """From the first drop to the decision and what followed from it, in order of time."""
    found = [Moment(f"Dropped {each.name}", each.at, detail=each.uri) for each in drops[:_DROPS_SHOWN]]
    if len(drops) > _DROPS_SHOWN:
        found.append(Moment(f"{len(drops) - _DROPS_SHOWN} more drops", drops[_DROPS_SHOWN].at))
    found.append(Moment("Run started", from_iso(run.started_at), detail=run.trigger))
    failed = run.status in (RunStatus.FAILED, RunStatus.STOPPED)
    found += _stays(visits, error_tone="bad" if failed else "run")
    if model is not None and model.decided_at:
        found.append(_decision(model))
    if run.ended_at:
        found.append(
            Moment(
                f"Run {run.status.replace('_', ' ')}",
                from_iso(run.ended_at),
                tone="bad" if failed else "ok",
            )
        )
    return sorted(found, key=lambda each: each.at)


def _stays(visits: Sequence[Visit], *, error_tone: str) -> Iterator[Moment]:
    """One entry a state: stays that repeat, as in polling, are one entry from the first to the last."""
    by_state: dict[tuple[int, str], list[Visit]] = {}
    for visit in visits:
        if not visit.is_quiet:
            by_state.setdefault((visit.depth, visit.name), []).append(visit)
    for (depth, name), stays in by_state.items():
        errors = sum(each.errors for each in stays)
        times = f"{len(stays)} times" if len(stays) > 1 else ""
        yield Moment(
            name,
            stays[0].entered_at,
            stays[-1].left_at,
            lasts=stays[-1].left_at is None,
            detail=", ".join(filter(None, (times, _attempts(errors)))),
            tone=error_tone if errors else "run",
            depth=depth,
        )


def _attempts(errors: int) -> str:
    return "" if not errors else f"{errors} failed attempt{'s' if errors > 1 else ''}"


def _decision(model: ModelVersion) -> Moment:
    by = f" by {model.decided_by}" if model.decided_by else ""
    return Moment(
        f"Version {model.version} {model.approval}{by}",
        from_iso(model.decided_at or ""),
        detail=model.decision_reason or "",
        tone="ok" if model.approval is Approval.APPROVED else "warn",
    )
