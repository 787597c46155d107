"""What a reviewer sees: the versions, and one of them with everything that a decision is made by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from botocore.exceptions import ClientError

from dropforge.domain.records import Live, ModelVersion, Run, RunStatus, StageChange
from dropforge.domain.verdicts import Verdict
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions import decisions, rollbacks
from dropforge_ops.console.reading.told_data import ToldData, read_told_data
from dropforge_ops.errors import NO_PACKAGE, NotFound, code_of
from dropforge_ops.stack.documents import Document, Documents

_RUNS_LOOKED_AT = 100
_REFUSED_SHOWN = 10
DELETED: Final = "deleted"
BETTER, WORSE, EVEN, UNDEFINED = "better", "worse", "even", "undefined"


@dataclass(frozen=True)
class Versions:
    """Every version, the newest first, and the newest candidates that never became one."""

    live: Live | None
    models: list[ModelVersion]
    refused: list[Run]

    @property
    def earlier(self) -> list[ModelVersion]:
        """What can be rolled back to; see `rollbacks.earlier`."""
        return rollbacks.earlier(self.live, self.models)


def read_versions(ledger: LedgerReader) -> Versions:
    """The list of versions; two queries and a read, however many runs there are."""
    runs = ledger.list_runs(_RUNS_LOOKED_AT)
    refused = [run for run in runs if run.status is RunStatus.REJECTED_BY_GATE]
    return Versions(ledger.live(), ledger.list_models(), refused[:_REFUSED_SHOWN])


@dataclass(frozen=True)
class Span:
    """A value with the ends of its 95 % interval; None where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any] | None) -> Self | None:
        return None if raw is None else cls(raw.get("value"), raw.get("low"), raw.get("high"))

    @property
    def side(self) -> str:
        """Of a difference: on which side of 0 the whole interval lies."""
        if self.low is None or self.high is None:
            return UNDEFINED
        if self.low > 0:
            return BETTER
        return WORSE if self.high < 0 else EVEN


@dataclass(frozen=True)
class MetricRow:
    """One metric of both models; a ``difference`` above 0 is a gain, whichever way the metric goes.

    ``untold`` and ``difference_untold`` say why there is no value or no interval; None where there is.
    """

    name: str
    greater_is_better: bool
    decides: bool
    candidate: Span
    champion: Span | None
    difference: Span | None
    untold: str | None = None
    difference_untold: str | None = None


@dataclass(frozen=True)
class SliceRow:
    """The deciding metric on the rows with one value of a column."""

    column: str
    label: str
    rows: int
    candidate: Span
    champion: float | None
    difference: Span | None
    is_guarded: bool = False
    verdict: str | None = None
    shortage: str | None = None
    untold: str | None = None


@dataclass(frozen=True)
class GuardedColumn:
    """A guarded column: values that share a slice, and by model the disparity between slices."""

    name: str
    others: tuple[str, ...]
    others_count: int
    disparity: Mapping[str, dict[str, float | None] | None]


@dataclass(frozen=True)
class Guard:
    """What the gate held guarded slices to."""

    columns: tuple[GuardedColumn, ...]
    compared: int
    confidence: float
    too_small: str

    @classmethod
    def of(cls, raw: Mapping[str, Any] | None) -> Self | None:
        """Read ``guarded`` of ``judgement.json``, which isn't there without guarded columns."""
        if raw is None:
            return None
        columns = [
            GuardedColumn(each["name"], tuple(each["others"]), each["others_count"], each["disparity"])
            for each in raw["columns"]
        ]
        return cls(tuple(columns), raw["compared"], raw["confidence"], raw["too_small"])


@dataclass(frozen=True)
class Judged:
    """What the gate said, with the numbers it said it by."""

    verdict: Verdict
    reasons: tuple[str, ...]
    threshold: float | None
    rows: int
    resamples: int
    champion_version: int | None
    champion_problem: str | None
    metrics: tuple[MetricRow, ...]
    slices: tuple[SliceRow, ...]
    positive_class: str | None = None
    guard: Guard | None = None
    decision: Mapping[str, Any] | None = None

    @property
    def deciding(self) -> MetricRow:
        return next(each for each in self.metrics if each.decides)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read ``judgement.json``; one from before all metrics were compared has the deciding one alone."""
        metric = content.get("metric") or {}
        compared = dict(content.get("compared") or {})
        champion = content.get("champion") or {}
        name = str(metric.get("name", "metric"))
        if name not in compared:
            compared[name] = {
                "greater_is_better": metric.get("greater_is_better", True),
                "candidate": metric,
                "champion": champion.get("metric"),
                "difference": content.get("difference"),
            }
        rows = [_metric_row(each, raw, each == name) for each, raw in compared.items()]
        return cls(
            verdict=Verdict.of(content),
            reasons=tuple(str(each.get("message")) for each in content.get("reasons") or []),
            threshold=metric.get("threshold"),
            rows=int(content.get("rows") or 0),
            resamples=int(content.get("resamples") or 0),
            champion_version=_version_of(champion.get("model_package_arn")),
            champion_problem=champion.get("reason"),
            metrics=tuple(sorted(rows, key=lambda each: not each.decides)),
            slices=tuple(_slice_row(each) for each in content.get("slices") or []),
            positive_class=metric.get("positive_class"),
            guard=Guard.of(content.get("guarded")),
            decision=content.get("decision"),
        )


@dataclass(frozen=True)
class Review:
    """A candidate with all that there is to see of it. ``model`` is None where the gate refused it."""

    run_id: str
    run: Run | None
    model: ModelVersion | None
    shown: decisions.Candidate | None
    verdict: Judged
    diagnostics: Mapping[str, Any] | None
    diagnostics_problem: str | None
    data: ToldData | None
    lineage: Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """What changes while a version is looked at, and what a decision on it depends on."""

    shown: decisions.Candidate
    run: Run | None
    history: tuple[StageChange, ...] = field(default=())
    fallback: ModelVersion | None = None

    @property
    def model(self) -> ModelVersion:
        return self.shown.model


def read_review(version: str, ledger: LedgerReader, documents: Documents) -> Review:
    """Collect it; how the registry has it is a matter of `read_standing`.

    Raises:
        UsageError, NotFound: there is no such version.
        OperationFailed: its metrics are gone.
    """
    model = decisions.parse_version(version, ledger)
    shown = decisions.candidate(model, ledger, documents)
    return _review(model.run_id, model, shown, shown.judgement, ledger, documents)


def read_refused(run_id: str, bucket: str, ledger: LedgerReader, documents: Documents) -> Review:
    """The same of a candidate that the gate refused, by its run.

    Raises:
        NotFound: the run left no judgement.
    """
    judgement = documents.find(f"s3://{bucket}/models/{run_id}/judgement.json")
    if judgement is None:
        raise NotFound(
            f"The run {run_id!r} left no judgement: it has not come so far, or there is no such run."
        )
    return _review(run_id, None, None, judgement, ledger, documents)


def read_standing(shown: decisions.Candidate, ledger: LedgerReader, sagemaker: Any) -> Standing:
    """Look again at what may have changed; the metrics themselves are looked at when a decision is made.

    Raises:
        NotFound: the version is gone.
    """
    version = shown.model.version
    model = ledger.get_model(version)
    if model is None:
        raise NotFound(f"There is no version {version} any more.")
    now = decisions.Candidate(model, shown.judgement, ledger.live(), _registry_status(model, sagemaker))
    fallback = None
    if now.is_live:
        fallback = next(iter(Versions(now.live, ledger.list_models(), []).earlier), None)
    return Standing(now, ledger.get_run(model.run_id), tuple(ledger.history(version)), fallback)


def _registry_status(model: ModelVersion, sagemaker: Any) -> str:
    """The package's approval status, or DELETED: somebody may have tidied the registry up."""
    try:
        package = sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    except ClientError as error:
        if code_of(error) in NO_PACKAGE:
            return DELETED
        raise
    return str(package.get("ModelApprovalStatus"))


def _review(
    run_id: str,
    model: ModelVersion | None,
    shown: decisions.Candidate | None,
    judgement: Document,
    ledger: LedgerReader,
    documents: Documents,
) -> Review:
    folder = judgement.uri.rpartition("/")[0]
    bucket = judgement.uri.split("/")[2]
    diagnostics, problem = _diagnostics(folder, judgement.content, documents)
    return Review(
        run_id=run_id,
        run=ledger.get_run(run_id),
        model=model,
        shown=shown,
        verdict=Judged.of(judgement.content),
        diagnostics=diagnostics,
        diagnostics_problem=problem,
        data=read_told_data(run_id, bucket, ledger, documents),
        lineage=documents.content(f"{folder}/lineage.json") or {},
    )


def _diagnostics(
    folder: str, judgement: Mapping[str, Any], documents: Documents
) -> tuple[Mapping[str, Any] | None, str | None]:
    """The diagnostics if they are those that the judgement was written with, else why they aren't shown."""
    digest = judgement.get("diagnostics_sha256")
    if digest is None:
        return None, "This version was judged before curves were kept. Train again to see them."
    uri = f"{folder}/diagnostics.json"
    found = documents.find(uri)
    if found is None:
        return None, f"{uri} is gone. Restore the object's version in S3, or train again."
    if found.sha256 != digest:
        return None, (
            f"{uri} was changed after the model was judged, so it isn't shown. Restore the object's version "
            "in S3, or train again."
        )
    return found.content, None


def _metric_row(name: str, raw: Mapping[str, Any], decides: bool) -> MetricRow:
    return MetricRow(
        name,
        bool(raw.get("greater_is_better", True)),
        decides,
        Span.of(raw.get("candidate")) or Span(None),
        Span.of(raw.get("champion")),
        Span.of(raw.get("difference")),
        raw.get("shortage"),
        raw.get("difference_shortage"),
    )


def _slice_row(raw: Mapping[str, Any]) -> SliceRow:
    return SliceRow(
        str(raw.get("slice")),
        str(raw.get("label")),
        int(raw.get("rows") or 0),
        Span.of(raw) or Span(None),
        raw.get("champion"),
        Span.of(raw.get("difference")),
        bool(raw.get("guarded")),
        raw.get("verdict"),
        raw.get("shortage"),
        raw.get("untold"),
    )


def _version_of(arn: Any) -> int | None:
    found = re.search(r"/(\d+)$", str(arn or ""))
    return int(found[1]) if found else None
