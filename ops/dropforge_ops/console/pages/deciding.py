"""Approve, reject, roll back: asked with a reason, bound to what was shown, and followed to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from nicegui import html, ui

from dropforge.domain.data_report import DataReport
from dropforge.domain.figures import figure
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.records import Approval, Live, ModelVersion
from dropforge.domain.verdicts import UNDECIDED, Verdict
from dropforge_ops.actions import decisions, rollbacks
from dropforge_ops.console.components.actions import button, confirm
from dropforge_ops.console.components.feedback import error_banner, notice
from dropforge_ops.console.components.text import facts
from dropforge_ops.console.components.told_data import draw_left_out
from dropforge_ops.console.context import Context
from dropforge_ops.console.reading.models import Span
from dropforge_ops.console.reading.wording import between, signed
from dropforge_ops.errors import CommandError

_LONGEST_REASON = 1024


class Outcome:
    """Where a page says what came of a decision. It stays when other parts of the page are drawn anew, so
    whatever has to outlive its button (a question, a look that goes on) belongs into its ``place``."""

    def __init__(self) -> None:
        with html.div() as self.place:
            self._said = html.div().classes("stacked")

    def say(self, text: str, *, tone: str = "info") -> None:
        """Say this in place of what was said before."""
        self._said.clear()
        with self._said:
            notice(text, tone=tone)

    def fail(self, text: str) -> None:
        """Say what went wrong; read out at once by a screen reader."""
        self._said.clear()
        with self._said:
            error_banner(text)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Say an expected error of the block."""
        try:
            yield
        except CommandError as error:
            self.fail(str(error))


async def decide(
    context: Context,
    outcome: Outcome,
    shown: decisions.Candidate,
    approval: Approval,
    data: DataReport | None = None,
) -> None:
    """Ask, look again whether all is as shown, tell the registry, and say in ``outcome`` what came of it."""
    version = shown.model.version
    approving = approval is Approval.APPROVED
    models = await context.read(context.ledger.list_models)
    back_to = next((each.version for each in rollbacks.earlier(shown.live, models)), None)
    # The button may be drawn anew while the question stands, so the question belongs to what stays.
    with outcome.place:
        answer = await confirm(
            f"{'Approve' if approving else 'Reject'} version {version}?",
            action="Approve and deploy" if approving else "Reject",
            tone="primary" if approving else "danger",
            describe=partial(_describe, shown, approval, data, back_to),
            reason="Why? It is kept with the decision.",
            longest_reason=_LONGEST_REASON,
        )
    if answer is None:
        return
    with outcome.failing():
        nothing = await context.read(_decide, context, shown, approval, answer)
        outcome.say(nothing or _consequence(shown, approval, back_to))


def offer_rollback(context: Context, outcome: Outcome, live: Live, back_to: ModelVersion) -> None:
    """A line that offers to make the version before live again."""
    with html.div().classes("offer"):
        html.span(
            f"Something wrong with version {live.version}? Version {back_to.version} was live before."
        ).classes("dim")
        button(
            f"Roll back to version {back_to.version}",
            partial(roll_back, context, outcome, live, back_to),
            icon="undo",
        )


async def roll_back(context: Context, outcome: Outcome, live: Live, back_to: ModelVersion) -> None:
    """Ask, look again whether the same version is live, start the deployment, and follow it to its end."""

    def describe() -> None:
        facts(
            {
                "live now": f"version {live.version}, {_metric(live.metric)}",
                "then live": f"version {back_to.version}, {_metric(back_to.metric)}",
            }
        )
        html.p(
            "It is verified and tested as any deployment; until then the live version keeps answering. Both "
            "versions stay approved."
        ).classes("dim")

    with outcome.place:
        answer = await confirm(
            f"Roll back to version {back_to.version}?",
            action="Roll back",
            tone="danger",
            describe=describe,
            reason="Why? It is kept with the deployment.",
            longest_reason=_LONGEST_REASON,
        )
    if answer is None:
        return
    with outcome.failing():
        arn = await context.read(_start_rollback, context, live, back_to, answer)
        outcome.say(f"The rollback to version {back_to.version} has started.")
        _follow(context, outcome, arn, back_to.version)


def _decide(context: Context, shown: decisions.Candidate, approval: Approval, reason: str) -> str | None:
    """Returns why there was nothing to do, or None."""
    sagemaker = context.target.client("sagemaker")
    decisions.check_current(shown, context.ledger, context.documents, sagemaker)
    nothing = (
        decisions.check_approvable(shown, reason)
        if approval is Approval.APPROVED
        else decisions.check_rejectable(shown)
    )
    if nothing is None:
        text = decisions.clean_reason(reason, f"{approval} in the console")
        decisions.decide(sagemaker, shown, approval, by=context.target.caller, reason=text)
    return nothing


def _start_rollback(context: Context, live: Live, back_to: ModelVersion, reason: str) -> str:
    now = context.ledger.live()
    if now is None or (now.version, now.token) != (live.version, live.token):
        what = "nothing" if now is None else f"version {now.version}"
        raise decisions.Outdated(
            f"What is live changed while you were looking: it is {what} now. Nothing was rolled back; look "
            "again."
        )
    current = context.ledger.get_model(back_to.version) or back_to
    already = rollbacks.check(current, now)
    if already is not None:
        raise decisions.Outdated(already)
    return rollbacks.start(
        context.target, current, decisions.clean_reason(reason, "rolled back in the console")
    )


def _follow(context: Context, outcome: Outcome, arn: str, version: int) -> None:
    """Look at the deployment until it has ended, and say how."""

    async def look() -> None:
        try:
            found = await context.read(
                context.target.client("stepfunctions").describe_execution, executionArn=arn
            )
        except CommandError:
            return  # the next look may work; what is live is shown anyway
        if found["status"] == "RUNNING":
            return
        timer.cancel()
        if found["status"] == "SUCCEEDED":
            outcome.say(f"Version {version} is live again.", tone="ok")
        else:
            said = f"{found.get('error', found['status'])}: {found.get('cause', '')}"
            outcome.fail(f"The rollback failed: {said} What was live before still serves.")

    with outcome.place:
        timer = ui.timer(context.look_s, look)


def _describe(
    shown: decisions.Candidate, approval: Approval, data: DataReport | None, back_to: int | None
) -> None:
    content = shown.judgement.content
    if shown.verdict is Verdict.UNDECIDED:
        notice(f"{UNDECIDED} {' '.join(decisions.told(shown))}", tone="warn")
    difference = Span.of(content.get("difference"))
    champion = (content.get("champion") or {}).get("metric")
    facts(
        {
            "version": shown.model.version,
            "measured": _metric(content.get("metric") or {}),
            "live model": _metric({**content["metric"], **champion}) if champion else None,
            "gain": None if difference is None else _gain(difference),
            "live now": f"version {shown.live.version}" if shown.live else "nothing",
        }
    )
    draw_left_out(data)
    html.p(_consequence_before(shown, approval, back_to)).classes("dim")


def _consequence_before(shown: decisions.Candidate, approval: Approval, back_to: int | None) -> str:
    if approval is Approval.APPROVED:
        return (
            "It is deployed, tested with rows of its hold-out, and then answers predictions. If a "
            "test fails, "
            "what is live now stays."
        )
    if shown.is_live:
        return decisions.consequence_of_rejecting_live(shown.model.version, back_to)
    return "It will not be deployed. What is live stays."


def _consequence(shown: decisions.Candidate, approval: Approval, back_to: int | None) -> str:
    version = shown.model.version
    if approval is Approval.APPROVED:
        return f"Version {version} is approved; it will be deployed and tested."
    if shown.is_live and back_to is None:
        return f"Version {version} is rejected and still serves: nothing can be rolled back to."
    if shown.is_live:
        return f"Version {version} is rejected. It was live: the rollback to version {back_to} starts."
    return f"Version {version} is rejected. What is live stays."


def _gain(difference: Span) -> str:
    ends = between(difference, of_difference=True)
    return signed(difference.value) + (f" ({ends})" if ends else "")


def _metric(values: Mapping[str, Any]) -> str:
    span = Span.of(values) or Span(None)
    ends = between(span)
    title = metric_title(str(values.get("name", "metric")), values.get("positive_class"))
    return f"{title} {figure(span.value)}" + (f" ({ends})" if ends else "")
