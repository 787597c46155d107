"""One version (or a candidate that the gate refused): everything a decision is made by, and the decision."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import html

from dropforge.domain.data_report import DataReport
from dropforge.domain.decision_words import decision_in_words
from dropforge.domain.figures import figure, told_apart
from dropforge.domain.metric_registry import MEANINGS, metric_title
from dropforge.domain.records import Approval, StageChange
from dropforge.domain.verdicts import Verdict
from dropforge_ops.console.components.actions import button
from dropforge_ops.console.components.curves import (
    calibration_chart,
    confusion_table,
    importance_table,
    residual_charts,
    roc_chart,
)
from dropforge_ops.console.components.feedback import error_banner, notice
from dropforge_ops.console.components.intervals import (
    difference_bar,
    interval_bar,
    reach_of,
    scale_of,
)
from dropforge_ops.console.components.layout import card, heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.slices import draw_gain, draw_slices
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, facts, link, moment, status_chip, verdict_chip
from dropforge_ops.console.components.thresholds import Explorer
from dropforge_ops.console.components.told_data import draw_told_data
from dropforge_ops.console.components.tuning_charts import draw_tuning
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages.deciding import Outcome, decide, offer_rollback, roll_back
from dropforge_ops.console.reading.models import (
    DELETED,
    MetricRow,
    Review,
    Span,
    Standing,
    read_refused,
    read_review,
    read_standing,
)
from dropforge_ops.console.reading.thresholds import OperatingPoints
from dropforge_ops.console.reading.wording import (
    between,
    difference_in_words,
    headline,
    interval_in_words,
    side_word,
)
from dropforge_ops.render import fitted_rows, hyperparameters


async def build_version(context: Context, version: str) -> None:
    """A registered version, with its decision."""
    sagemaker = context.target.client("sagemaker")
    review = await context.read(read_review, version, context.ledger, context.documents)
    shown = review.shown
    assert shown is not None  # noqa: S101 - a registered version has what its reviewers are shown
    heading(f"Version {shown.model.version}")
    outcome = Outcome()
    await live(
        context,
        partial(read_standing, shown, context.ledger, sagemaker),
        partial(_show_standing, context, outcome, None if review.data is None else review.data.report),
    )
    _draw(review)


async def build_refused(context: Context, run_id: str) -> None:
    """A candidate that the gate refused."""
    review = await context.read(
        read_refused, run_id, context.target.bucket, context.ledger, context.documents
    )
    heading(f"Candidate of {run_id}")
    with html.div().classes("inline"):
        refused = review.verdict.verdict is Verdict.REJECTED
        chip("refused by the gate" if refused else "no version", "mute")
        link("Its run", f"/runs/{run_id}")
    _draw(review)


def _show_standing(context: Context, outcome: Outcome, data: DataReport | None, standing: Standing) -> None:
    model, shown = standing.model, standing.shown
    with html.div().classes("standing"):
        with html.div().classes("inline"):
            if shown.is_live:
                chip("live", "ok", title="This version answers predictions now.")
            status_chip(model.approval)
            chip(str(model.stage), "mute", title="The stage in SageMaker's registry")
            link("Model card", f"/models/{model.version}/card")
            if shown.live is not None and not shown.is_live:
                live_version = shown.live.version
                link(f"Compare with version {live_version}", f"/compare/v{live_version}/v{model.version}")
            elif standing.fallback is not None:
                before = standing.fallback.version
                link(f"Compare with version {before}", f"/compare/v{before}/v{model.version}")
            html.span().classes("spring")
            with html.div().classes("inline"):
                _buttons(context, outcome, data, standing)
        _say_where_it_stands(standing)
    if shown.is_live and shown.live is not None and standing.fallback is not None:
        offer_rollback(context, outcome, shown.live, standing.fallback)


def _buttons(context: Context, outcome: Outcome, data: DataReport | None, standing: Standing) -> None:
    model, shown = standing.model, standing.shown
    if shown.registry_status == DELETED:
        return
    if model.approval is Approval.PENDING or model.approval is Approval.REJECTED:
        button(
            "Approve",
            partial(decide, context, outcome, shown, Approval.APPROVED, data),
            "primary",
            icon="check",
        )
    if model.approval in (Approval.PENDING, Approval.APPROVED):
        button(
            "Reject",
            partial(decide, context, outcome, shown, Approval.REJECTED),
            "danger",
            icon="close",
        )
    may_return = model.approval is Approval.APPROVED and model.promoted_at and not shown.is_live
    if may_return and shown.live is not None:
        button("Make live again", partial(roll_back, context, outcome, shown.live, model), icon="undo")


_EXPECTED: Final[Mapping[Approval, str]] = {
    Approval.PENDING: "PendingManualApproval",
    Approval.APPROVED: "Approved",
    Approval.REJECTED: "Rejected",
    Approval.SUPERSEDED: "Rejected",
}


def _say_where_it_stands(standing: Standing) -> None:
    model, run = standing.model, standing.run
    if standing.shown.registry_status == DELETED:
        notice("Its model package was deleted from the registry, so nothing can be decided.", tone="warn")
    elif standing.shown.registry_status != _EXPECTED[model.approval]:
        notice(f"The registry has it as {standing.shown.registry_status}; the decision is being acted on.")
    if run is not None and run.error and model.approval is Approval.APPROVED and not standing.shown.is_live:
        error_banner(f"Its run failed: {run.error.get('class')}: {run.error.get('message')}")
    with html.div().classes("dim inline"):
        if model.decided_at:
            html.span(f"{str(model.approval).capitalize()} by {model.decided_by or 'somebody'}")
            moment(model.decided_at)
            if model.decision_reason:
                html.span(f"“{model.decision_reason}”")
        else:
            html.span("Registered")
            moment(model.registered_at)
            if model.due_at:
                html.span("· a decision is wanted")
                moment(model.due_at)
        html.span("·").props("aria-hidden=true")
        link("Its run", f"/runs/{model.run_id}")
    with html.details().classes("history"):
        count = len(standing.history)
        html.summary(f"History, {count} {'entry' if count == 1 else 'entries'}")
        Table(_HISTORY, lambda each: f"{each.at}{each.stage}{each.approval}", label="History").show(
            standing.history
        )


_HISTORY: Final[tuple[Column[StageChange], ...]] = (
    Column("When", lambda each: moment(each.at)),
    Column("Stage", lambda each: str(each.stage)),
    Column("Approval", lambda each: status_chip(each.approval)),
    Column("By", lambda each: each.by or "–"),
    Column("Why", lambda each: each.reason or "", narrow=False),
)


def _draw(review: Review) -> None:
    _draw_verdict(review)
    _draw_metrics(review)
    draw_slices(review.verdict)
    _draw_curves(review)
    draw_told_data(review.data)
    _draw_lineage(review)


def _draw_verdict(review: Review) -> None:
    verdict = review.verdict
    row = verdict.deciding
    with card("Verdict"):
        with html.div().classes("inline"):
            verdict_chip(verdict.verdict)
            html.span(headline(verdict)).classes("strong")
        low, high = scale_of(row.candidate, row.champion, also=(verdict.threshold,))
        with html.div().classes("duel"):
            rival = None if row.champion is None else row.champion.value
            texts = told_apart(row.candidate.value, rival, verdict.threshold)
            _duel_row("candidate", texts[0], row.candidate, low, high, verdict.threshold, "first")
            if row.champion is not None:
                name = f"version {verdict.champion_version}" if verdict.champion_version else "live model"
                _duel_row(name, texts[1], row.champion, low, high, verdict.threshold, "second")
            if verdict.threshold is not None:
                with html.div().classes("duel-row"), html.div().classes("duel-scale"):
                    place = 100 * (verdict.threshold - low) / (high - low)
                    text = html.span(f"threshold {texts[2]}")
                    # Near an end the text stays inside.
                    text.style(f"left: {place:.1f}%; transform: translateX(-{place:.0f}%)")
        for text in (difference_in_words(row, verdict.champion_version), interval_in_words(verdict)):
            if text:
                html.p(text)
        if verdict.decision is not None:
            html.p(" ".join(decision_in_words(verdict.decision)))
        with html.details():
            html.summary("What the gate wrote, and what an interval is")
            for reason in verdict.reasons:
                html.p(reason).classes("mono")
            html.p(
                "An interval holds the truth in 95 % of all hold-outs of this kind. A candidate is accepted "
                "when its value meets the threshold and its whole interval lies above what a model reaches "
                "that knows nothing. Candidate and live model are measured on the same "
                f"{verdict.resamples:,} resamples of the hold-out, so their difference is known more "
                "precisely than either value. The gate refuses when the difference is a loss beyond chance, "
                "or larger than the tolerance. Where the hold-out has too few rows of a class for an "
                "interval that holds, the gate can't say, and a person decides."
            ).classes("dim")


def _duel_row(
    name: str, text: str, span: Span, low: float, high: float, mark: float | None, tone: str
) -> None:
    with html.div().classes("duel-row"):
        html.span(name).classes("duel-name")
        interval_bar(span, low, high, mark=mark, tone=tone)
        with html.span().classes("duel-value"):
            html.b(text)
            html.span(f" {between(span)}").classes("dim")


def _draw_metrics(review: Review) -> None:
    verdict = review.verdict
    has_champion = any(row.champion is not None for row in verdict.metrics)

    def name(row: MetricRow) -> None:
        with html.div().classes("inline"):
            title = metric_title(row.name, verdict.positive_class)
            html.span(title).classes("strong" if row.decides else "")
            if row.decides:
                chip("decides", "run")
        html.div(MEANINGS.get(row.name, "")).classes("hint")

    def value(span: Span | None, untold: str | None = None) -> None:
        html.span(figure(None if span is None else span.value))
        html.div(between(span) or untold or "").classes("hint")

    def gain(row: MetricRow) -> None:
        draw_gain(row.difference)
        if row.difference is not None and row.difference_untold:
            html.div(row.difference_untold).classes("hint")

    columns = [
        Column("Metric", name),
        Column("Candidate", lambda row: value(row.candidate, row.untold), kind="number"),
    ]
    if has_champion:
        columns += [
            Column("Live then", lambda row: value(row.champion), kind="number", narrow=False),
            Column("Gain", gain, kind="number"),
            Column("", lambda row: difference_bar(row.difference, reach_of(row.difference)), narrow=False),
            Column("", lambda row: _side(row.difference), narrow=False),
        ]
    with card("Metrics on the hold-out"):
        html.p(
            "Below each value stands its 95 % interval. A gain above 0 is better, whichever way the "
            "metric goes."
            if has_champion
            else "Below each value stands its 95 % interval."
        ).classes("dim")
        Table(columns, lambda row: row.name, label="Metrics").show(verdict.metrics)


def _side(span: Span | None) -> None:
    word, tone = side_word(span)
    chip(word, tone)


def _draw_curves(review: Review) -> None:
    found = review.diagnostics
    if found is None:
        notice(review.diagnostics_problem or "There are no curves.", tone="warn")
        return
    name = f"version {review.verdict.champion_version}" if review.verdict.champion_version else "live model"
    models = {"candidate": found["candidate"], name: found["champion"]}
    models = {each: curves for each, curves in models.items() if curves is not None}
    explorer = _explorer(review, found)
    with html.div().classes("charts"):
        if models:
            _draw_errors(found["task"], models)
        if explorer is not None:
            _draw_thresholds(explorer, models)
        if found["importance"]:
            with card("What the model goes by"):
                of = "validation" if found["importance"].get("split") == "validation" else "hold-out"
                html.p(
                    f"How much {found['importance']['metric']} is lost on {of} rows when a feature's values "
                    "are shuffled. Features that say the same share it; one near 0 could be left out."
                ).classes("dim")
                importance_table(found["importance"])
        if found.get("tuning"):
            with card("How hyperparameters were searched"):
                draw_tuning(found["tuning"])


def _draw_errors(task: str, models: Mapping[str, Mapping[str, Any]]) -> None:
    calibration = {name: each["calibration"] for name, each in models.items()}
    if task == "regression":
        with card("Residuals"):
            residual_charts({name: each["residuals"] for name, each in models.items()})
        with card("Predicted and true values"):
            html.p(
                "Means of rows with similar predictions. On the dashed line predictions are right on average."
            ).classes("dim")
            calibration_chart(calibration, is_regression=True)
        return
    with card("ROC"):
        html.p(
            "Up and to the left is better: positives found, against false alarms, over every cut."
        ).classes("dim")
        roc_chart({name: each["roc"] for name, each in models.items()})
    with card("Calibration"):
        html.p(
            "Does 80 % mean 8 of 10? On the dashed line it does; lines show where the truth may lie."
            if task == "binary"
            else "How sure the model is of its class, and how often it is right. Below the dashed "
            "line it is too sure."
        ).classes("dim")
        calibration_chart(calibration, is_regression=False)
    with card("Confusion"):
        html.p("Rows are the truth, columns what was predicted; the shade is the share of the row.").classes(
            "dim"
        )
        with html.div().classes("beside"):
            for name, each in models.items():
                with html.div():
                    html.h3(name)
                    confusion_table(name, each["confusion"])


def _explorer(review: Review, found: Mapping[str, Any]) -> Explorer | None:
    """Of a candidate of two classes, judged since thresholds are counted."""
    points = OperatingPoints.of(found["candidate"])
    if points is None:
        return None
    goal = (review.verdict.decision or {}).get("goal") or {}
    negative, positive = found["classes"]
    costs = goal.get("false_positive_cost", 1.0), goal.get("false_negative_cost", 1.0)
    return Explorer(points, (negative, positive), costs)


def _draw_thresholds(explorer: Explorer, models: Mapping[str, Mapping[str, Any]]) -> None:
    known = {name: OperatingPoints.of(each) for name, each in models.items()}
    with card("Precision and recall"):
        html.p(
            "Up and to the right is better: how many of the rows called positive are, against how many of "
            "the positives are found. The dot is the threshold below."
        ).classes("dim")
        explorer.draw_curve({name: each for name, each in known.items() if each is not None})
    with card("Scores by class"):
        html.p(
            "The less both overlap, the better a threshold tells them apart. The dashed line is the one "
            "below."
        ).classes("dim")
        explorer.draw_scores(models["candidate"]["scores_by_class"])
    with card("Any threshold"):
        html.p(
            "What the hold-out's rows would be called from another probability on. Trying changes nothing; "
            "the stack's parameters FalsePositiveCost and FalseNegativeCost, or MinimumPrecision and "
            "MinimumRecall, decide for the next candidate."
        ).classes("dim")
        explorer.draw_slider()


def _draw_lineage(review: Review) -> None:
    lineage = review.lineage
    if not lineage:
        return
    run = lineage.get("run") or {}
    with html.details().classes("card"):
        html.summary("Lineage: what it was made of")
        facts(
            {
                "estimator": lineage.get("estimator"),
                "rows fitted": fitted_rows(lineage),
                "seed": lineage.get("seed"),
                "hyperparameters": hyperparameters(lineage),
                "model digest": lineage.get("model_digest"),
                "trained archive": lineage.get("model_data_url"),
                "data version": run.get("data_version"),
                "contract": lineage.get("contract_hash"),
                "commit": run.get("source_commit") or (review.run and review.run.source_commit),
                "code": run.get("code_sha256"),
                "training job": run.get("training_job_arn"),
                "instance type": run.get("instance_type"),
                "libraries": ", ".join(
                    f"{name} {value}" for name, value in sorted((lineage.get("libraries") or {}).items())
                ),
            }
        )


PAGE: Final = Page("/models/{version}", "Version", build_version, within="/models")
REFUSED: Final = Page("/models/refused/{run_id}", "Refused candidate", build_refused, within="/models")
