"""Starts runs by hand, sees whether they were admitted, and compares a replay with its original."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropforge.domain.drop_life import DropState
from dropforge.domain.records import Run
from dropforge.domain.triggers import TriggerKind, run_id_of_execution
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.drops import drops_taken
from dropforge_ops.actions.progress_view import cause_message
from dropforge_ops.actions.waiting import Deadline
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

DATA: Final = {
    "new": "what came since the last run; where nothing did, what the last run was trained on",
    "all": "all data so far, of each object the newest version",
    "last-run": "what the last run was trained on",
}
"""What a run by hand may train on; help, how-to and console have these words."""
STUCK: Final = (DropState.WAITING, DropState.SET_ASIDE)
"""Drops in these states can be brought back."""
# What a model is made from: where these are the same, the model has to be.
_INGREDIENTS = ("data_version", "contract_hash", "code_sha256")


@dataclass(frozen=True)
class Started:
    """An execution that was started by hand."""

    sfn: Any
    kind: TriggerKind
    name: str
    execution_arn: str


@dataclass(frozen=True)
class Admission:
    """What the first state decided. ``run`` is there if it was admitted."""

    outcome: str
    message: str
    run: Run | None = None

    def to_dict(self) -> dict[str, Any]:
        run = None if self.run is None else self.run.to_dict()
        return {"outcome": self.outcome, "message": self.message, "run": run}


@dataclass(frozen=True)
class Outcome:
    """What a run made, and from what."""

    run_id: str
    model_digest: str
    ingredients: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A replay beside its original."""

    original: Outcome
    replay: Outcome

    @property
    def same(self) -> bool:
        """Whether both models have the same digest."""
        return self.original.model_digest == self.replay.model_digest

    @property
    def differences(self) -> list[str]:
        """Which ingredients differ."""
        before, after = self.original.ingredients, self.replay.ingredients
        return [name for name in before if before[name] != after.get(name)]

    @property
    def explanation(self) -> str:
        """Why the models differ, as far as the lineage tells."""
        if not self.differences:
            return "Data, contract, code, libraries and settings are the same: training isn't deterministic."
        return f"What differs: {', '.join(self.differences)}."

    def to_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.original.run_id,
            "replay_run_id": self.replay.run_id,
            "same": self.same,
            "model_digest": self.original.model_digest,
            "replay_model_digest": self.replay.model_digest,
            "differences": self.differences,
        }


def start(target: Target, kind: TriggerKind, fields: Mapping[str, Any]) -> Started:
    """Start the training state machine by hand."""
    sfn = target.client("stepfunctions")
    name = f"{kind}-{secrets.token_hex(8)}"
    payload = {"trigger": kind, "requested_by": target.caller, **fields}
    answer = sfn.start_execution(
        stateMachineArn=target.outputs["TrainingStateMachine"], name=name, input=json.dumps(payload)
    )
    return Started(sfn, kind, name, answer["executionArn"])


def start_again(target: Target, run: Run) -> Started:
    """Train on what is new, and on what of a run's drops still waits or was set aside."""
    taken = target.ledger.get_drops(drops_taken(run, target.documents))
    keys = sorted({each.drop.key for each in taken if each.state in STUCK})
    return start(target, "manual", {"data": "new", "bring_back": keys})


def admission(started: Started, ledger: LedgerReader, poll_s: float, deadline: Deadline) -> Admission:
    """Wait for the first state's decision.

    Raises:
        OperationFailed: the execution failed before it.
        TimedOut: the time is up.
    """
    run_id = run_id_of_execution(started.kind, started.name)
    while True:
        # The execution is read first: if it has ended, what it recorded is there.
        described = started.sfn.describe_execution(executionArn=started.execution_arn)
        run = ledger.get_run(run_id) or _follow_up_run(described, ledger)
        if run is not None:
            return Admission("admitted", f"Run {run.run_id} trains.", run)
        if described["status"] == "SUCCEEDED":
            output = json.loads(described.get("output") or "{}")
            said = output.get("admission", output)
            return Admission(str(said.get("outcome")), str(said.get("message")))
        if described["status"] != "RUNNING":
            raise OperationFailed(
                f"The execution {started.execution_arn} ended as {described['status']}: "
                f"{described.get('error')}: {cause_message(described.get('cause') or '')}"
            )
        deadline.pause(poll_s, "The run isn't admitted yet")


def outcome_of(run_id: str, bucket: str, documents: Documents) -> Outcome | None:
    """What a run made; None if it was never judged."""
    judgement = documents.find(f"s3://{bucket}/models/{run_id}/judgement.json")
    if judgement is None:
        return None
    lineage = documents.find(f"s3://{bucket}/models/{run_id}/lineage.json")
    content = {} if lineage is None else lineage.content
    ingredients = {name: (content.get("run") or {}).get(name) for name in _INGREDIENTS}
    for name, version in sorted((content.get("libraries") or {}).items()):
        ingredients[f"{name} (library)"] = version
    ingredients |= {"hyperparameters": _settings(content), "seed": content.get("seed")}
    return Outcome(run_id, str(judgement.content["model_digest"]), ingredients)


def compare(original: Outcome, replay: Outcome) -> Comparison:
    """Put a replay beside its original."""
    return Comparison(original, replay)


def _settings(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters, without the champion's digest, which the candidate isn't made from."""
    given = dict(lineage.get("hyperparameters") or {})
    given.pop("champion_sha256", None)
    return given


def _follow_up_run(described: Mapping[str, Any], ledger: LedgerReader) -> Run | None:
    """The run that this very execution opened, if it is named after something else than the execution."""
    arn = described["executionArn"]
    return next((run for run in ledger.list_runs(10) if run.execution_arn == arn), None)
