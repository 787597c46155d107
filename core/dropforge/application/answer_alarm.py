"""What an alarm about the live model leads to: retraining, falling back first, or a notification only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso, iso, readable
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, Live
from dropforge.domain.services import Workflows
from dropforge.domain.triggers import RaisedAlarm

RETRAIN: Final = "retrain"
FALLBACK: Final = "fallback"
NOTIFY: Final = "notify"
Response = Literal["retrain", "fallback", "notify"]


@dataclass(frozen=True)
class AlarmPolicy:
    """How alarms are answered.

    Attributes:
        drift, quality: the response to that alarm (to that of the estimate likewise to quality's);
            ``fallback`` deploys the version before the live one and then retrains.
        cooldown: after a promotion and after a run that an alarm started, in which no alarm starts another.
    """

    drift: Response = RETRAIN
    quality: Response = RETRAIN
    cooldown: timedelta = timedelta(hours=6)

    def response(self, alarm: RaisedAlarm) -> Response:
        return self.drift if alarm.kind == "drift" else self.quality


def why_not(alarm: RaisedAlarm, ledger: Ledger, policy: AlarmPolicy) -> str | None:
    """Return why the alarm is not answered by a run, or None where it is.

    The watch has applied the cooldown to alarms of one kind; here it makes one run of drift and of lost
    quality that have one cause. It counts from the window that raised an alarm to the next one's, not from
    when its run was started: windows as long as the cooldown would never be answered again otherwise.
    """
    if alarm.state != "ALARM":
        return f"Alarm {alarm.name} went to {alarm.state}."
    live = ledger.live()
    if live is None:
        return f"The {alarm.name}: no model is live."
    promoted_at = from_iso(live.promoted_at)
    if alarm.version not in (None, live.version):
        return f"The {alarm.name} is about version {alarm.version}, but version {live.version} is live now."
    if alarm.at < promoted_at:
        return f"The {alarm.name} is from before version {live.version} became live."
    if policy.response(alarm) == NOTIFY:
        return f"The {alarm.name} is not answered: the stack's parameters ask for a notification only."
    answered = [
        from_iso(run.started_at if run.alarm is None else run.alarm["at"])
        for run in ledger.list_runs()
        if run.trigger == "alarm" and run.run_id != alarm.run_id
    ]
    until = max([promoted_at, *answered]) + policy.cooldown
    if alarm.at < until:
        return f"The {alarm.name} is not answered before {readable(iso(until))}, the end of the cooldown."
    return None


def record_answer(
    alarm: RaisedAlarm,
    outcome: str,
    message: str,
    *,
    run_id: str | None,
    execution_arn: str,
    store: ObjectStore,
    now: datetime,
) -> None:
    """Write what became of the alarm beside the report of its window; a rerun writes it again.

    What became of the run stands in the run's record.
    """
    if alarm.answer_uri is None:
        return
    answer = {
        "format": 1,
        "alarm": alarm.to_event()["alarm"],
        "outcome": outcome,
        "message": message,
        "run_id": run_id,
        "execution_arn": execution_arn,
        "answered_at": iso(now),
    }
    text = json.dumps(answer, indent=1, ensure_ascii=False) + "\n"
    store.write(alarm.answer_uri, text.encode(), "application/json")


def fall_back(
    alarm: RaisedAlarm,
    *,
    ledger: Ledger,
    workflows: Workflows,
    deployment_machine_arn: str,
    policy: AlarmPolicy,
) -> int | None:
    """Start the deployment of the version before the live one, where the policy asks for it.

    Only an older version is gone back to: one that was itself replaced by a fallback would otherwise come
    back with the next alarm. The execution is named after the alarm's transition, so twice is once.

    Returns:
        The version that is deployed again; None where none is.
    """
    live = ledger.live()
    if live is None or policy.response(alarm) != FALLBACK:
        return None
    version = _version_before(live, ledger)
    if version is None:
        return None
    workflows.start(
        deployment_machine_arn,
        name=f"{FALLBACK}-{alarm.identity}",
        payload={
            "reason": FALLBACK,
            "version": version,
            "run_id": None,
            "requested_by": alarm.name,
        },
    )
    return version


def _version_before(live: Live, ledger: Ledger) -> int | None:
    earlier = [
        model.version
        for model in ledger.list_models()
        if model.version < live.version and model.promoted_at and model.approval is Approval.APPROVED
    ]
    return max(earlier, default=None)
