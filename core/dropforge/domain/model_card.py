"""The model card of a version, drafted from what its run left.

Its content follows the schema that SageMaker publishes for the cards of model packages
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema). Numbers are
those of the run's documents: a number as it stands there, in a text as `figure` writes it. There is one
function for each document; what a document doesn't say is left out, and a document that is missing is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dropforge.domain.data_report import DataReport
from dropforge.domain.decision_words import decision_in_words, few_positives, goal_in_words
from dropforge.domain.figures import UNDEFINED, figure, told_apart
from dropforge.domain.metric_registry import MEANINGS, metric_title
from dropforge.domain.split_words import split_in_words
from dropforge.domain.verdicts import Verdict

MAXIMUM_CHARACTERS: Final = 100_000
"""https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ModelPackageModelCard.html"""

PENDING_REVIEW, APPROVED, DRAFT, ARCHIVED = "PendingReview", "Approved", "Draft", "Archived"
"""The status of a card. An archived one can't be changed any more."""

HOLD_OUT: Final = "Hold-out"
"""The evaluation that a card tells of."""

METRIC_GROUP, CHAMPION_GROUP, SLICE_GROUP = "Metrics", "Beside the live model", "Slices"
DECISION_GROUP = "Decision threshold"
DISPARITY_GROUP = "Disparity of guarded slices"
IMPORTANCE_GROUP, CONFUSION_GROUP, CALIBRATION_GROUP = "Importance", "Confusion", "Calibration"

INTENDED_USES: Final = (
    "Drafted by dropforge, to be completed by those who answer for the model: which decisions it may be used "
    "for, by whom, and which it must not be used for. It answers for rows of the kind that it was trained "
    "and tested on; dropforge watches whether those that it is asked about still are."
)
"""What a card says until somebody has written it down."""

OF_PEOPLE: Final = (
    ("business_details",),
    ("intended_uses", "intended_uses"),
    ("intended_uses", "risk_rating"),
    ("intended_uses", "explanations_for_risk_rating"),
    ("additional_information", "ethical_considerations"),
)
"""Where people write into a card. A new version's card takes it over from the live version's."""

_SHORT, _LONG, _OBSERVATION, _SEGMENT, _NAME = 1024, 2048, 2096, 63, 255
_DATASETS, _TRAINING_METRICS, _HYPERPARAMETERS = 15, 50, 100
_MATRIX, _SLICES, _FEATURES = 20, 40, 40
# What ends a line in Java's patterns, and JSON leaves as it is: a card's content is a single line.
_LINE_ENDS: Final = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}

DOCUMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "judgement": ("models", "judgement.json"),
    "diagnostics": ("models", "diagnostics.json"),
    "lineage": ("models", "lineage.json"),
    "report": ("runs", "report.json"),
    "contract": ("runs", "contract/schema.json"),
    "manifest": ("runs", "manifest.json"),
}
"""A run's documents: in which folder each is, and its path there."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class RunDocuments:
    """What a run left, parsed; None where there is no such document."""

    judgement: Json | None = None
    diagnostics: Json | None = None
    lineage: Json | None = None
    report: Json | None = None
    contract: Json | None = None
    manifest: Json | None = None

    @classmethod
    def read(
        cls, bucket: str, run_id: str, content: Callable[[str], Mapping[str, Any] | None]
    ) -> RunDocuments:
        """Read them.

        Args:
            bucket: the data bucket's name.
            content: returns the JSON object that lies at a URI, None where there is none.
        """
        return cls(
            **{
                name: content(f"s3://{bucket}/{folder}/{run_id}/{path}")
                for name, (folder, path) in DOCUMENTS.items()
            }
        )

    @property
    def missing(self) -> list[str]:
        """The files of those that are not there."""
        return [path for name, (_, path) in DOCUMENTS.items() if getattr(self, name) is None]


@dataclass(frozen=True)
class Identity:
    """What a card is about, beyond the run's documents.

    Attributes:
        archive: where the model's archive is that the package names.
        image: the container image that trained it and serves it; None where that is not known.
        source_commit: of the deployed code that trained it; None where nobody said.
    """

    model_name: str
    run_id: str
    archive: str
    image: str | None = None
    source_commit: str | None = None


@dataclass
class _Parts:
    """What the documents say, in the places that the schema has for it."""

    purpose: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    observations: list[str] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)
    evaluated_by: dict[str, str] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    counts: list[dict[str, Any]] = field(default_factory=list)
    hyperparameters: list[dict[str, str]] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    training_job: str | None = None
    groups: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)

    def note(self, **details: Any) -> None:
        """Add details that are known."""
        self.details |= {name: str(value) for name, value in details.items() if value not in (None, "")}

    def group(self, name: str, metrics: Sequence[dict[str, Any]]) -> None:
        """Add metrics under a name; none are no group."""
        if metrics:
            self.groups.append({"name": name, "metric_data": list(metrics)})


def draft(identity: Identity, documents: RunDocuments) -> dict[str, Any]:
    """Return the content of a card; the same arguments give the same."""
    parts = _Parts()
    parts.note(model_name=identity.model_name, run_id=identity.run_id, source_commit=identity.source_commit)
    for tell, document in (
        (_tell_contract, documents.contract),
        (_tell_judgement, documents.judgement),
        (_tell_diagnostics, documents.diagnostics),
        (_tell_lineage, documents.lineage),
        (_tell_report, documents.report),
        (_tell_manifest, documents.manifest),
    ):
        if document is not None:
            tell(parts, document)
    missing = documents.missing
    if missing:
        listed = ", ".join(missing)
        parts.note(missing_documents=listed)
        parts.caveats.append(f"The run left no {listed}, so what would stand there is missing here.")
    return _content(identity, parts)


def _tell_contract(parts: _Parts, contract: Json) -> None:
    columns = contract.get("columns") or []
    features = [each for each in columns if each.get("role") == "feature"]
    target, task, classes = contract.get("target"), contract.get("task"), contract.get("classes")
    parts.note(target=target, task=task, classes=_joined(classes or []), key=contract.get("key"))
    parts.note(features=_joined(str(each.get("name")) for each in features))
    noun = "column" if len(features) == 1 else "columns"
    what = f"Predicts {target!r} ({task}) from {len(features):,} {noun}."
    parts.purpose.append(what)
    if classes:
        parts.purpose.append(f"Its classes: {_joined(classes)}.")
    private = [str(each.get("name")) for each in columns if each.get("privacy")]
    if private:
        parts.note(private_columns=_joined(private))
        parts.caveats.append(f"Private columns, of which no values are logged: {_joined(private)}.")


def _tell_judgement(parts: _Parts, judgement: Json) -> None:
    metric = judgement.get("metric") or {}
    positive = metric.get("positive_class")
    name = str(metric.get("name", "metric"))
    title = metric_title(name, positive)
    verdict = Verdict.of(judgement)
    reasons = [str(each.get("message")) for each in judgement.get("reasons") or []]
    greater = bool(metric.get("greater_is_better", True))
    _, threshold = told_apart(metric.get("value"), metric.get("threshold"))
    parts.objective = {
        "function": {"function": "Maximize" if greater else "Minimize", "facet": _cut(title, _SEGMENT)},
        "notes": _cut(
            f"The gate decides by {title} ({MEANINGS.get(name, name)}); "
            f"{'at least' if greater else 'at most'} {threshold} is wanted.",
            _SHORT,
        ),
    }
    parts.note(metric=name, positive_class=positive, quality_threshold=threshold, gate_verdict=str(verdict))
    parts.evaluation.append(" ".join([f"The gate's verdict: {verdict}.", *reasons]))
    if verdict is Verdict.UNDECIDED:
        parts.caveats += reasons
    parts.evaluated_by |= {
        each: str(judgement[each]) for each in ("rows", "resamples", "confidence") if each in judgement
    }
    compared = judgement.get("compared") or {name: {"candidate": metric}}
    ordered = sorted(compared.items(), key=lambda each: each[0] != name)
    parts.group(
        METRIC_GROUP,
        [_measured(metric_title(each, positive), raw.get("candidate"), raw) for each, raw in ordered],
    )
    _tell_decision(parts, judgement.get("decision"))
    _tell_champion(parts, judgement, ordered, positive)
    _tell_slices(parts, judgement, title)
    _tell_guarded(parts, judgement.get("guarded") or {})


def _tell_decision(parts: _Parts, decision: Json | None) -> None:
    """The threshold of two classes: what it serves, on what it was chosen, and what its errors cost."""
    if decision is None:
        return
    parts.note(
        decision_threshold=figure(decision["threshold"]),
        threshold_of=decision["positive_class"],
        threshold_serves=goal_in_words(decision["goal"]),
    )
    parts.evaluation += decision_in_words(decision)
    if (few := few_positives(decision)) is not None:
        parts.limits.append(few)
    kinds = {"with the threshold": decision["chosen"], "with the likelier class": decision["argmax"]}
    named = {"cost_per_1000": "cost", "precision": "precision", "recall": "recall"}
    metrics = [
        _measured(f"{title}, {kind}", errors[name], {}, of=_PER_1000 if name == "cost_per_1000" else "")
        for name, title in named.items()
        for kind, errors in kinds.items()
        if errors[name] is not None
    ]
    if decision["saving_per_1000"] is not None:
        saved = "saved of the likelier class's cost"
        metrics.append(_measured(saved, decision["saving_per_1000"], {}, of=_PER_1000))
    parts.group(DECISION_GROUP, metrics)


def _tell_champion(
    parts: _Parts, judgement: Json, compared: Sequence[tuple[str, Json]], positive: str | None
) -> None:
    champion = judgement.get("champion")
    if not champion:
        return
    parts.note(compared_with=champion.get("model_package_arn"))
    if champion.get("reason"):
        parts.caveats.append(f"The live model could not be compared: {champion['reason']}")
    beside = []
    for name, raw in compared:
        title = metric_title(name, positive)
        if raw.get("champion"):
            beside.append(_measured(title, raw["champion"], {}))
        if raw.get("difference"):
            gain = _measured(
                f"gain in {title}", raw["difference"], {"shortage": raw.get("difference_shortage")}
            )
            beside.append(gain)
    parts.group(CHAMPION_GROUP, beside)


def _tell_slices(parts: _Parts, judgement: Json, title: str) -> None:
    """The metric that decides, on rows with one value of a column; of many those with the most rows."""
    slices = sorted(judgement.get("slices") or [], key=lambda each: -int(each.get("rows") or 0))
    metrics = []
    for each in slices[:_SLICES]:
        name = f"{title}, {each.get('slice')} = {each.get('label')}"
        made = _measured(
            name, each, {"shortage": each.get("untold")}, of=f"{int(each.get('rows') or 0):,} rows."
        )
        if (held := _HELD.get(str(each.get("verdict")))) is not None:
            why = f": {each['shortage']}" if each.get("shortage") else ""
            made["notes"] = _cut(f"{made['notes']} {held}{why}.", _SHORT)
        metrics.append(made)
    parts.group(SLICE_GROUP, metrics)
    if len(slices) > _SLICES:
        parts.caveats.append(f"Only the largest of {len(slices):,} slices are listed.")


def _tell_guarded(parts: _Parts, guarded: Json) -> None:
    """The guarded columns, and how differently the model treats their slices."""
    columns = guarded.get("columns") or []
    parts.note(guarded_columns=_joined(str(each.get("name")) for each in columns))
    parts.group(
        DISPARITY_GROUP,
        [
            _measured(f"{name} by {each.get('name')}", {"value": value}, {})
            for each in columns
            for name, value in ((each.get("disparity") or {}).get("candidate") or {}).items()
        ][:_SLICES],
    )


_HELD: Final[Mapping[str, str]] = {
    "holds": "Beside the live model: not worse beyond chance",
    "worse": "Beside the live model: worse beyond chance",
    "cant_say": "Beside the live model: can't say",
}
"""What a guarded slice's verdict is called."""

_PER_1000: Final = "For 1,000 rows of the hold-out."


def _measured(title: str, interval: Json | None, raw: Json, of: str = "") -> dict[str, Any]:
    """A metric with its 95 % interval, or with why there is none; `of` says what it was measured on."""
    found = interval or {}
    value, low, high = (found.get(each) for each in ("value", "low", "high"))
    notes = [of] if of else []
    if low is not None and high is not None:
        _, shown_low, shown_high = told_apart(value, low, high)
        notes.append(f"95 % interval {shown_low} to {shown_high}.")
    elif raw.get("shortage"):
        said = "It is undefined" if value is None else "It can't be said how sure this is"
        notes.append(f"{said}: {raw['shortage']}.")
    made: dict[str, Any] = {"name": _name(title), "type": "number", "value": value}
    if value is None:
        made |= {"type": "string", "value": UNDEFINED}
    return {**made, "notes": _cut(" ".join(notes), _SHORT)} if notes else made


def _tell_diagnostics(parts: _Parts, diagnostics: Json) -> None:
    importance = diagnostics.get("importance") or {}
    features = importance.get("features") or []
    if features:
        shown = features[:_FEATURES]
        parts.group(
            IMPORTANCE_GROUP,
            [
                {
                    "name": "Importance of the features",
                    "type": "bar_chart",
                    "value": [each["mean"] for each in shown],
                    "x_axis_name": [_cut(str(each["name"]), _SEGMENT) for each in shown],
                    "y_axis_name": _cut(f"{importance.get('metric') or 'metric'} lost", _SEGMENT),
                    "notes": f"What shuffling a feature costs on the {importance.get('split')} rows"
                    + ("." if len(features) == len(shown) else f"; the first of {len(features):,}."),
                }
            ],
        )
    curves = diagnostics.get("candidate") or {}
    confusion = curves.get("confusion") or {}
    labels = confusion.get("labels") or []
    if 0 < len(labels) <= _MATRIX:
        names = [_cut(str(each), _SEGMENT) for each in labels]
        parts.group(
            CONFUSION_GROUP,
            [
                {
                    "name": "Confusion",
                    "type": "matrix",
                    "value": confusion["counts"],
                    "x_axis_name": names,
                    "y_axis_name": names,
                    "notes": "Hold-out rows; a line is a true class, a column a predicted one.",
                }
            ],
        )
    calibration = curves.get("calibration") or []
    if calibration:
        parts.group(
            CALIBRATION_GROUP,
            [
                {
                    "name": "Calibration",
                    "type": "linear_graph",
                    "value": [[each["predicted"], each["observed"]] for each in calibration],
                    "x_axis_name": "predicted",
                    "y_axis_name": "came true",
                    "notes": "Hold-out rows in bins of equal counts.",
                }
            ],
        )


def _tell_lineage(parts: _Parts, lineage: Json) -> None:
    run = lineage.get("run") or {}
    given = lineage.get("hyperparameters") or {}
    parts.training_job = run.get("training_job_arn")
    parts.hyperparameters = [
        {"name": _name(name), "value": _name(value)}
        for name, value in sorted(given.items())
        # The champion's digest is no setting of the model, and what the threshold serves is told in words.
        if str(value) != "" and name not in ("champion_sha256", "decision_goal")
    ][:_HYPERPARAMETERS]
    if len(given) > _HYPERPARAMETERS:
        parts.caveats.append(f"Only the first of {len(given):,} hyperparameters are listed.")
    libraries = lineage.get("libraries") or {}
    parts.note(
        estimator=lineage.get("estimator"),
        seed=lineage.get("seed"),
        libraries=_joined(f"{name} {version}" for name, version in sorted(libraries.items())),
        model_digest=lineage.get("model_digest"),
        model_sha256=lineage.get("model_sha256"),
        contract_hash=lineage.get("contract_hash"),
        data_version=run.get("data_version"),
        code_sha256=run.get("code_sha256"),
        instance_type=run.get("instance_type"),
        source_commit=run.get("source_commit"),
    )
    for split, rows in (lineage.get("fitted") or {}).items():
        parts.counts.append({"name": f"rows fitted, of {split}", "value": rows})


def _tell_report(parts: _Parts, report: Json) -> None:
    rows = report.get("rows") or {}
    parts.counts += [{"name": f"rows {name}", "value": rows[name]} for name in rows if rows[name] is not None]
    for name, split in (report.get("splits") or {}).items():
        parts.counts.append({"name": f"rows of the split {name}", "value": split.get("rows")})
        parts.counts += [
            {"name": _name(f"rows of the split {name} of class {label}"), "value": count}
            for label, count in (split.get("classes") or {}).items()
        ]
    parts.observations.append(DataReport.of(report, None).rows_in_words)
    _tell_split(parts, report.get("split") or {})
    leaks = [str(each.get("said")) for each in report.get("leaks") or []]
    parts.limits += leaks
    parts.note(leakage=" ".join(leaks) or ("none found" if "leaks" in report else None))
    told = [str(each) for each in report.get("remarks") or []]
    parts.limits += [each for each in told if each.rstrip(".") not in {leak.rstrip(".") for leak in leaks}]


def _tell_split(parts: _Parts, split: Json) -> None:
    how = split_in_words(split)
    if how is None:
        return
    parts.observations.append(f"Rows are split {how}.")
    parts.note(split=how, group_column=split.get("group"), groups=_counted(split.get("groups")))
    boundaries = split.get("boundaries")
    if boundaries:
        ends = {name: boundaries.get(name) for name in ("validation_from", "test_from")}
        parts.note(
            time_column=boundaries.get("column"),
            **ends,
        )
        parts.observations.append(
            f"Rows validate from {boundaries.get('column')} = {parts.details.get('validation_from')} on, and "
            f"test from {parts.details.get('test_from')} on."
        )


def _tell_manifest(parts: _Parts, manifest: Json) -> None:
    objects = manifest.get("objects") or []
    parts.counts.append({"name": "objects trained on", "value": len(objects)})
    uris = [_cut(f"s3://{each.get('bucket')}/{each.get('key')}", _SHORT) for each in objects]
    if len(uris) > _DATASETS:
        uris = [*uris[: _DATASETS - 1], f"All {len(objects):,} are in the run's manifest.json."]
    parts.datasets = uris
    parts.note(trigger=manifest.get("trigger"), replay_of=manifest.get("replay_of"))
    labelled = manifest.get("labelled") or {}
    if labelled.get("rows"):
        parts.counts.append({"name": "rows of labelled predictions", "value": labelled["rows"]})


def _content(identity: Identity, parts: _Parts) -> dict[str, Any]:
    job: dict[str, Any] = {
        "training_arn": parts.training_job and _cut(parts.training_job, _SHORT),
        "training_datasets": parts.datasets,
        "training_environment": {"container_image": [identity.image]} if identity.image else None,
        "training_metrics": [each for each in parts.counts if each["value"] is not None][:_TRAINING_METRICS],
        "hyper_parameters": parts.hyperparameters,
    }
    evaluation = {
        "name": HOLD_OUT,
        "evaluation_observation": _cut(" ".join(parts.evaluation), _OBSERVATION),
        "metadata": {name: _cut(value, _SHORT) for name, value in parts.evaluated_by.items()},
        "metric_groups": parts.groups,
    }
    return _without_empty(
        {
            "model_overview": {
                "model_creator": "dropforge",
                "model_artifact": [_cut(identity.archive, _SHORT)],
            },
            "intended_uses": {
                "purpose_of_model": _cut(" ".join(parts.purpose), _LONG),
                "intended_uses": INTENDED_USES,
                "factors_affecting_model_efficiency": _cut(" ".join(parts.limits), _LONG),
                "risk_rating": "Unknown",
            },
            "training_details": {
                "objective_function": parts.objective,
                "training_observations": _cut(" ".join(parts.observations), _SHORT),
                "training_job_details": job,
            },
            "evaluation_details": [evaluation] if parts.groups or parts.evaluation else [],
            "additional_information": {
                "caveats_and_recommendations": _cut(" ".join(parts.caveats), _LONG),
                "custom_details": {name: _cut(value, _SHORT) for name, value in parts.details.items()},
            },
        }
    )


def with_peoples(content: Json, of: Json) -> dict[str, Any]:
    """Return a card with what people wrote into another one, wherever it says nothing of its own."""
    made = json.loads(json.dumps(content))
    for path in OF_PEOPLE:
        written = _at(of, path)
        if written in (None, "", INTENDED_USES, "Unknown"):
            continue
        if _at(made, path) in (None, "", INTENDED_USES, "Unknown"):
            place = made
            for name in path[:-1]:
                place = place.setdefault(name, {})
            place[path[-1]] = written
    return dict(made)


def with_decision(
    content: Json, *, decision: str, by: str | None, at: str | None, reason: str | None
) -> dict[str, Any]:
    """Return a card with what was decided on its version, in the place of an earlier decision."""
    made = json.loads(json.dumps(content))
    details = made.setdefault("additional_information", {}).setdefault("custom_details", {})
    told = {"decision": decision, "decided_by": by, "decided_at": at, "decision_reason": reason}
    for name, value in told.items():
        details.pop(name, None)
        if value:
            details[name] = _cut(str(value), _SHORT)
    return dict(made)


def to_text(content: Json) -> str:
    """Return the content as SageMaker takes it: one line, and no longer than it may be."""
    text = _written(content)
    for name, shorten in _SHORTER:
        if len(text) <= MAXIMUM_CHARACTERS:
            break
        made = json.loads(text)
        if shorten(made, name):
            additional = made.setdefault("additional_information", {})
            caveats = additional.get("caveats_and_recommendations", "")
            said = f"{name.replace('_', ' ').capitalize()}: left out, as the card would be too long."
            additional["caveats_and_recommendations"] = (
                f"{said} {_cut(caveats, _LONG - len(said) - 1)}".strip()
            )
            text = _written(made)
    return text


def _without_group(content: dict[str, Any], name: str) -> bool:
    has_it = False
    for evaluation in content.get("evaluation_details") or []:
        groups = evaluation.get("metric_groups") or []
        kept = [each for each in groups if each["name"] != name]
        has_it = has_it or len(kept) < len(groups)
        evaluation["metric_groups"] = kept
    return has_it


def _without_member(content: dict[str, Any], name: str) -> bool:
    job = content.get("training_details", {}).get("training_job_details", {})
    return job.pop(name, None) is not None


_SHORTER: Final[tuple[tuple[str, Callable[[dict[str, Any], str], bool]], ...]] = (
    *((name, _without_group) for name in (CALIBRATION_GROUP, CONFUSION_GROUP, IMPORTANCE_GROUP, SLICE_GROUP)),
    *((name, _without_member) for name in ("hyper_parameters", "training_datasets")),
)
"""What a card does without where it would be too long, in this order."""


def _written(content: Json) -> str:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_LINE_ENDS)


def _at(content: Any, path: Sequence[str]) -> Any:
    for name in path:
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _without_empty(content: Any) -> Any:
    """The content without members that say nothing."""
    if not isinstance(content, Mapping):
        return content
    kept = {name: _without_empty(value) for name, value in content.items()}
    return {name: value for name, value in kept.items() if value is not None and value not in ("", [], {})}


def _joined(texts: Iterable[Any]) -> str:
    """The texts with commas between them; of many the first that a detail has room for.

    >>> _joined(["a", "b"]), _joined(f"column {n}" for n in range(200))[-30:]
    ('a, b', 'olumn 80, column 81 +118 more')
    """
    every = [str(each) for each in texts]
    text, room = "", _SHORT - 20
    for position, each in enumerate(every):
        longer = f"{text}, {each}" if text else each
        if len(longer) > room:
            return f"{text} +{len(every) - position:,} more".strip()
        text = longer
    return text


def _counted(count: int | None) -> str | None:
    return None if count is None else f"{count:,}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _name(text: Any) -> str:
    """A text in one line with something in it, which is what the schema takes for names."""
    return _cut(" ".join(str(text).split()) or UNDEFINED, _NAME)
