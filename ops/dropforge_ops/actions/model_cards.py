"""Model cards as people read them: the registry's, or one drafted from what the run left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.domain.figures import figure
from dropforge.domain.model_card import DRAFT, Identity, RunDocuments, draft, with_decision
from dropforge.domain.records import Approval, ModelVersion
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.errors import NO_PACKAGE, code_of
from dropforge_ops.stack.documents import Documents

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """The card of a version.

    Attributes:
        content: by SageMaker's schema for the cards of model packages.
        status: of the card itself: Draft, PendingReview, Approved or Archived.
        note: why it is not the registry's own; None where it is.
    """

    version: int
    content: Json
    status: str
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "status": self.status,
            "from": "registry" if self.note is None else "documents",
            "note": self.note,
            "content": dict(self.content),
        }


@dataclass(frozen=True)
class Section:
    """A part of a card: sentences, names with values, and a table.

    Attributes:
        rows: of the table, cells as texts; the first one are its columns' names.
    """

    title: str
    sentences: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    rows: Sequence[Sequence[str]] = ()
    parts: Sequence[Section] = field(default=())


def read_card(
    model: ModelVersion, bucket: str, ledger: LedgerReader, documents: Documents, sagemaker: Any
) -> Card:
    """Read the registry's card of a version; without one, draft it from what the run left."""
    why = "the registry has no card of it: it was registered by an earlier release"
    try:
        package = sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    except ClientError as error:
        if code_of(error) not in NO_PACKAGE:
            raise
        package, why = {}, "its model package was deleted"
    card = package.get("ModelCard") or {}
    if card.get("ModelCardContent"):
        content = json.loads(card["ModelCardContent"])
        return Card(model.version, content, str(card.get("ModelCardStatus") or DRAFT))
    group = model.model_package_arn.rpartition("/")[0].rpartition("/")[2]
    run = ledger.get_run(model.run_id)
    commit = None if run is None else run.source_commit
    identity = Identity(group, model.run_id, model.model_data_url, _image_of(package), commit)
    content = draft(identity, RunDocuments.read(bucket, model.run_id, documents.content))
    if model.approval is not Approval.PENDING:
        content = with_decision(
            content,
            decision=str(model.approval),
            by=model.decided_by,
            at=model.decided_at,
            reason=model.decision_reason,
        )
    return Card(model.version, content, DRAFT, f"Drafted just now, because {why}.")


def _image_of(package: Mapping[str, Any]) -> str | None:
    containers = (package.get("InferenceSpecification") or {}).get("Containers") or [{}]
    image = containers[0].get("Image")
    return None if image is None else str(image)


_WORDS: Final[Mapping[str, str]] = {
    "purpose_of_model": "Purpose",
    "intended_uses": "Intended uses",
    "factors_affecting_model_efficiency": "What limits it",
    "risk_rating": "Risk rating",
    "explanations_for_risk_rating": "Why this rating",
}
_NUMBER: Final = ("number", "string", "boolean")
_HASHES: Final = re.compile(r"[0-9a-f]{40,64}")


def sections(card: Card) -> list[Section]:
    """Return the card in the order in which people read it."""
    content = card.content
    found = [
        _in_words("What it is for", content.get("intended_uses") or {}),
        _in_words("Business", content.get("business_details") or {}),
        *_evaluations(content.get("evaluation_details") or []),
        _training(content.get("training_details") or {}),
        *_additional(content.get("additional_information") or {}, content.get("model_overview") or {}),
    ]
    return [each for each in found if each.sentences or each.facts or each.rows or each.parts]


def _in_words(title: str, members: Json) -> Section:
    facts = [
        (_WORDS.get(name, name.replace("_", " ").capitalize()), str(value)) for name, value in members.items()
    ]
    return Section(title, facts=facts)


def _evaluations(evaluations: Sequence[Json]) -> Iterator[Section]:
    for each in evaluations:
        said = str(each.get("evaluation_observation") or "")
        facts = [
            (name.replace("_", " ").capitalize(), str(v)) for name, v in (each.get("metadata") or {}).items()
        ]
        groups = tuple(part for group in each.get("metric_groups") or [] for part in _group(group))
        name = str(each.get("name", "Evaluation"))
        yield Section(f"Evaluation: {name.lower()}", [said] if said else (), facts, parts=groups)


def _group(group: Json) -> Iterator[Section]:
    """A table of the group's single values, and one for each chart."""
    metrics = group.get("metric_data") or []
    single = [each for each in metrics if each.get("type") in _NUMBER]
    title = str(group.get("name", "Metrics"))
    if single:
        notes = any(each.get("notes") for each in single)
        head = ["", "value", "note"] if notes else ["", "value"]
        rows = [
            [str(each.get("name")), _shown(each.get("value")), str(each.get("notes") or "")]
            for each in single
        ]
        yield Section(title, rows=[head, *(row[: len(head)] for row in rows)])
    for each in metrics:
        if each.get("type") in _NUMBER:
            continue
        said = [str(each["notes"])] if each.get("notes") else []
        yield Section(str(each.get("name") or title), said, rows=_charted(each))


def _charted(metric: Json) -> list[list[str]]:
    """A chart's values as a table."""
    x, y, values = metric.get("x_axis_name"), metric.get("y_axis_name"), metric.get("value") or []
    if metric.get("type") == "matrix":
        columns = list(x or [])
        lines = list(y or [])
        return [
            ["", *map(str, columns)],
            *(
                [str(lines[place]) if place < len(lines) else "", *map(_shown, row)]
                for place, row in enumerate(values)
            ),
        ]
    if metric.get("type") == "bar_chart":
        names = list(x or [])
        return [
            ["", str(y or "value")],
            *(
                [str(names[place]) if place < len(names) else "", _shown(each)]
                for place, each in enumerate(values)
            ),
        ]
    return [[str(x or "x"), str(y or "y")], *([_shown(each) for each in point] for point in values)]


def _training(training: Json) -> Section:
    job = training.get("training_job_details") or {}
    objective = training.get("objective_function") or {}
    said = [str(each) for each in (objective.get("notes"), training.get("training_observations")) if each]
    facts = [("Training job", str(job["training_arn"]))] if job.get("training_arn") else []
    for image in (job.get("training_environment") or {}).get("container_image") or []:
        facts.append(("Container image", str(image)))
    parts = []
    for title, member in (
        ("Rows and objects", "training_metrics"),
        ("More metrics", "user_provided_training_metrics"),
    ):
        if job.get(member):
            parts.append(
                Section(
                    title, rows=[["", "value"], *([str(e["name"]), _shown(e["value"])] for e in job[member])]
                )
            )
    if job.get("training_datasets"):
        parts.append(Section("Data", [str(each) for each in job["training_datasets"]]))
    for title, member in (
        ("Hyperparameters", "hyper_parameters"),
        ("More hyperparameters", "user_provided_hyper_parameters"),
    ):
        if job.get(member):
            parts.append(Section(title, facts=[(str(e["name"]), str(e["value"])) for e in job[member]]))
    return Section("Training", said, facts, parts=parts)


def _additional(additional: Json, overview: Json) -> Iterator[Section]:
    caveats = additional.get("caveats_and_recommendations")
    yield Section("Caveats", [str(caveats)] if caveats else ())
    ethical = additional.get("ethical_considerations")
    yield Section("Ethical considerations", [str(ethical)] if ethical else ())
    details = dict(additional.get("custom_details") or {})
    decided = [(name, details.pop(name)) for name in _DECISION if name in details]
    yield Section("Decision", facts=[(_DECISION[name], str(value)) for name, value in decided])
    facts = [(name.replace("_", " ").capitalize(), str(value)) for name, value in details.items()]
    if overview.get("model_creator"):
        facts.append(("Made by", str(overview["model_creator"])))
    facts += [("Archive", str(each)) for each in overview.get("model_artifact") or []]
    yield Section("Details", facts=facts)


_DECISION: Final[Mapping[str, str]] = {
    "decision": "Decision",
    "decided_by": "By",
    "decided_at": "At",
    "decision_reason": "Why",
}


def _shown(value: Any) -> str:
    """A value as people read it; counts are whole."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else figure(value)


def markdown(card: Card) -> str:
    """Return the card as a Markdown document."""
    lines = [f"# Model card of version {card.version}", "", f"Status of the card: {card.status}."]
    if card.note:
        lines += ["", f"> {_escaped(card.note)}"]
    for each in sections(card):
        lines += ["", *_section(each, 2)]
    return "\n".join(lines) + "\n"


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_escaped(section.title)}"
    if section.sentences:
        yield ""
    for position, each in enumerate(section.sentences):
        if position:
            yield ""
        yield _escaped(each)
    if section.facts:
        yield ""
        yield from (f"- **{_escaped(name)}**: {_value(value)}" for name, value in section.facts)
    if section.rows:
        yield ""
        head, *rows = section.rows
        yield _line(head)
        yield _line(["---", *("---" if name == "note" else "---:" for name in head[1:])], escaped=False)
        yield from (_line(row) for row in rows)
    for part in section.parts:
        yield ""
        yield from _section(part, level + 1)


def _line(cells: Sequence[str], *, escaped: bool = True) -> str:
    return f"| {' | '.join(_escaped(each) if escaped else each for each in cells)} |"


def _value(text: str) -> str:
    """A digest or an address as it is; anything else as text."""
    is_code = _HASHES.fullmatch(text) or text.startswith(("s3://", "arn:"))
    return f"`{text}`" if is_code and "`" not in text else _escaped(text)


def _escaped(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
