"""``dropforge approve`` and ``dropforge reject``: decide on a version, having seen its metrics."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.records import Approval, Live, ModelVersion
from dropforge.domain.verdicts import UNDECIDED, Verdict
from dropforge_ops.actions import decisions, rollbacks
from dropforge_ops.actions.deployments import DeploymentWatch
from dropforge_ops.actions.progress_view import ProgressView
from dropforge_ops.actions.waiting import until
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed
from dropforge_ops.render import facts, judged, number, say, show_slices, title
from dropforge_ops.stack.data_reports import read_data_report

_SAID = {
    Verdict.ACCEPTED: "Accepted:",
    Verdict.REJECTED: "Rejected:",
    Verdict.UNDECIDED: UNDECIDED,
}
_GOES_ON = "The decision stands and is acted on; 'dropforge models' shows how it stands."
# The registry's event, and the function that acts on it, take seconds even when cold.
_HEARD_WITHIN_S = 120.0


def approve(
    invocation: Invocation,
    *,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A number, 'latest', or a model package's ARN.")
    ],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the decision.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; needed without a terminal.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the deployment until it is live.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Approve a version: it is deployed, tested and made live."""
    model = decisions.parse_version(version, invocation.ledger)
    shown = _shown(invocation, model)
    text = decisions.clean_reason(reason, "approved with dropforge approve")
    show_candidate(shown, invocation.err)
    nothing = decisions.check_approvable(shown, reason)
    if nothing is None:
        _warn_of_left_out(invocation, model)
    if nothing is not None and (shown.is_live or not wait):
        _emit(invocation, shown, model, shown.live, changed=False, message=nothing)
        return
    target = invocation.target
    watch = DeploymentWatch(
        target.client("stepfunctions"), target.outputs["DeploymentStateMachine"], model.version
    )
    watch.remember()
    live: Live | None = None
    if nothing is None:
        _confirm(invocation, shown, f"Approve version {model.version}?", yes)
    with ProgressView(invocation.err) as view:
        if nothing is None:
            decisions.decide(
                target.client("sagemaker"), shown, Approval.APPROVED, by=target.caller, reason=text
            )
            model = _recorded(invocation, model, Approval.APPROVED)
        message = nothing or f"Version {model.version} is approved; it will be deployed."
        if wait:
            deadline = invocation.deadline(timeout, _GOES_ON)
            live = watch.to_live(invocation.ledger, view, target.poll_s, deadline)
            message = f"Version {model.version} is live."
    _emit(invocation, shown, model, live, changed=nothing is None, message=message)


def reject(
    invocation: Invocation,
    *,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A number, 'latest', or a model package's ARN.")
    ],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the decision.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; needed without a terminal.")] = False,
) -> None:
    """Reject a version. Rejecting the live one rolls back to the previous version, where there is one."""
    model = decisions.parse_version(version, invocation.ledger)
    shown = _shown(invocation, model)
    text = decisions.clean_reason(reason, "rejected with dropforge reject")
    nothing = decisions.check_rejectable(shown)
    show_candidate(shown, invocation.err)
    message = nothing or f"Version {model.version} is rejected."
    if nothing is None:
        if shown.is_live:
            before = rollbacks.earlier(shown.live, invocation.ledger.list_models())
            back_to = next((each.version for each in before), None)
            invocation.note(decisions.consequence_of_rejecting_live(model.version, back_to))
            message += (
                f" It was live: the rollback to version {back_to} starts."
                if back_to is not None
                else " It still serves: nothing can be rolled back to. Approve another version to replace it."
            )
        question = f"Reject version {model.version}{', which is LIVE' if shown.is_live else ''}?"
        _confirm(invocation, shown, question, yes)
        with ProgressView(invocation.err):
            target = invocation.target
            decisions.decide(
                target.client("sagemaker"), shown, Approval.REJECTED, by=target.caller, reason=text
            )
            model = _recorded(invocation, model, Approval.REJECTED)
    _emit(invocation, shown, model, None, changed=nothing is None, message=message)


def show_candidate(shown: decisions.Candidate, console: Console) -> None:
    """The numbers a decision is made by."""
    content = shown.judgement.content
    metric = content.get("metric") or {}
    others = [
        f"{title({**metric, 'name': name})} {number(value)}"
        for name, value in (content.get("metrics") or {}).items()
        if name != metric.get("name")
    ]
    facts(
        console,
        [
            ("version", shown.model.version),
            ("run", shown.model.run_id),
            *judged(content),
            ("other metrics", ", ".join(others)),
            ("verdict", f"{_SAID[shown.verdict]} {' '.join(decisions.told(shown))}".strip()),
        ],
    )
    show_slices(content, console)


def _warn_of_left_out(invocation: Invocation, model: ModelVersion) -> None:
    """Name the columns that have values and that the model knows nothing of."""
    data = read_data_report(
        model.run_id, invocation.target.bucket, invocation.ledger, invocation.documents.content
    )
    if data is not None and data.left_out:
        for line in (data.columns_in_words, *data.left_out_in_words):
            invocation.note(line)


def _shown(invocation: Invocation, model: ModelVersion) -> decisions.Candidate:
    sagemaker = invocation.target.client("sagemaker")
    return decisions.candidate(model, invocation.ledger, invocation.documents, sagemaker)


def _confirm(invocation: Invocation, shown: decisions.Candidate, question: str, yes: bool) -> None:
    if invocation.confirm(question, yes=yes, no="Nothing was decided."):
        sagemaker = invocation.target.client("sagemaker")
        decisions.check_current(shown, invocation.ledger, invocation.documents, sagemaker)


def _recorded(invocation: Invocation, model: ModelVersion, wanted: Approval) -> ModelVersion:
    """Wait until the decision is in the ledger: the registry's event has been acted on.

    Raises:
        OperationFailed: the decision was taken back, or another one came in between.
    """
    ledger, target = invocation.ledger, invocation.target

    def heard() -> ModelVersion | None:
        now = ledger.get_model(model.version)
        if now is not None and now.approval is not model.approval:
            return now
        if wanted is Approval.APPROVED:
            _check_not_taken_back(invocation, model)
        return None

    deadline = invocation.deadline(
        _HEARD_WITHIN_S,
        "SageMaker has it; 'dropforge models' shows when it was acted on. If it never is, look at the log of "
        "the function that applies decisions.",
    )
    now: ModelVersion = until(
        heard, deadline, target.poll_s, f"The decision on version {model.version} isn't recorded"
    )
    if now.approval is not wanted:
        why = f": {now.decision_reason}" if now.decision_reason else ""
        raise OperationFailed(
            f"Version {model.version} is {now.approval} by {now.decided_by or 'somebody else'}{why}."
        )
    return now


def _check_not_taken_back(invocation: Invocation, model: ModelVersion) -> None:
    """Raise if the registry no longer has the decision: it named metrics that aren't the version's."""
    package = invocation.target.client("sagemaker").describe_model_package(
        ModelPackageName=model.model_package_arn
    )
    if package.get("ModelApprovalStatus") == "Rejected":
        raise OperationFailed(
            f"The approval of version {model.version} was taken back: {package.get('ApprovalDescription')}"
        )


def _emit(
    invocation: Invocation,
    shown: decisions.Candidate,
    model: ModelVersion,
    live: Live | None,
    *,
    changed: bool,
    message: str,
) -> None:
    document: dict[str, Any] = {
        **shown.to_dict(),
        "approval": str(model.approval),
        "decided_by": model.decided_by,
        "decided_at": model.decided_at,
        "decision_reason": model.decision_reason,
        "changed": changed,
        "live": None if live is None else live.to_dict(),
        "message": message,
    }
    invocation.emit(document, lambda out: say(out, message))
