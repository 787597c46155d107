"""Two runs side by side: what they were made from, and how good their models are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dropforge.domain.decision_goal import Wish
from dropforge.domain.decision_words import goal_in_words
from dropforge.domain.errors import InvalidDecisionGoal
from dropforge.domain.figures import told_apart
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.model_card import RunDocuments
from dropforge.domain.records import Run
from dropforge.domain.split_words import split_in_words
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.decisions import parse_version
from dropforge_ops.errors import NotFound, UsageError
from dropforge_ops.render import interval
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

if TYPE_CHECKING:
    from dropforge_ops.actions.holdouts import Paired

_VERSION: Final = re.compile(r"v?\d{1,8}|arn:[^:]+:sagemaker:.*")
_TOLD_APART: Final = ("champion_sha256", "seed", "decision_goal")
_NEAR: Final = 100
_NAMED: Final = 5
"""Objects, columns and slices that only one side has, by name; the rest are counted."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One fact of both sides, as values of JSON; None where a side doesn't say it."""

    name: str
    first: Any
    second: Any

    @property
    def differs(self) -> bool:
        return bool(self.first != self.second)

    @property
    def shown(self) -> tuple[str, str]:
        """Both as people read them, so that what differs looks different."""
        if (
            _is_number(self.first)
            and _is_number(self.second)
            and float in map(type, (self.first, self.second))
        ):
            first, second = told_apart(self.first, self.second)
            return first, second
        return _shown(self.first), _shown(self.second)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "first": self.first, "second": self.second, "differs": self.differs}


@dataclass(frozen=True)
class Part:
    """Facts of one kind; ``lines`` say what is no pair of values."""

    title: str
    rows: tuple[Row, ...]
    lines: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.lines) or any(row.differs for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [each.to_dict() for each in self.rows],
            "lines": list(self.lines),
        }


@dataclass(frozen=True)
class Side:
    """A run with a model, and what it left."""

    run: Run
    documents: RunDocuments

    @property
    def title(self) -> str:
        """The version, where it became one, and the run."""
        return f"version {self.run.version}" if self.run.version else f"run {self.run.run_id}"

    @property
    def judgement(self) -> Json:
        return self.documents.judgement or {}

    @property
    def metric(self) -> Json:
        return self.judgement.get("metric") or {}

    def to_dict(self) -> dict[str, Any]:
        return {"run_id": self.run.run_id, "version": self.run.version, "status": str(self.run.status)}


@dataclass(frozen=True)
class ComparedRuns:
    """Both sides, part by part. A difference of metrics above 0 says that the second is better."""

    first: Side
    second: Side
    parts: tuple[Part, ...]
    paired: Paired

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "parts": [each.to_dict() for each in self.parts],
            "same_rows": self.paired.to_dict(),
        }


def find_run(ledger: LedgerReader, run_id: str) -> Run:
    """The run of that id, or the newest for ``latest``.

    Raises:
        NotFound: there is none; runs with similar ids are named.
    """
    if run_id == "latest":
        newest = ledger.list_runs(1)
        if not newest:
            raise NotFound("There is no run yet. Drop a file: 'dropforge drop FILE'.")
        return newest[0]
    run = ledger.get_run(run_id)
    if run is None:
        near = [each.run_id for each in ledger.list_runs(_NEAR) if run_id in each.run_id][:5]
        hint = f" Did you mean {' or '.join(near)}?" if near else " 'dropforge runs' lists those there are."
        raise NotFound(f"There is no run {run_id!r}.{hint}")
    return run


def compare_runs(first: str, second: str, target: Target) -> ComparedRuns:
    """Put two runs with models side by side.

    Args:
        first, second: a run's id, ``latest`` for the newest run, or a version's number or ARN.

    Raises:
        NotFound: there is no such run or version.
        UsageError: a run has no model, or the two predict different columns.
    """
    left, right = (_side(each, target) for each in (first, second))
    targets = [(each.documents.contract or {}).get("target") for each in (left, right)]
    tasks = [(each.documents.contract or {}).get("task") for each in (left, right)]
    for what, found in (("columns", targets), ("kinds of task", tasks)):
        if None not in found and found[0] != found[1]:
            raise UsageError(
                f"They predict different {what}, {found[0]!r} and {found[1]!r}: there is nothing to compare."
            )
    from dropforge_ops.actions.holdouts import compare_on_same_rows  # noqa: PLC0415 - numpy, for this alone

    positive = right.metric.get("positive_class")
    paired = compare_on_same_rows(
        left.documents.lineage or {}, right.documents.lineage or {}, positive, target.client("s3")
    )
    return ComparedRuns(left, right, tuple(_parts(left, right)), paired)


def _side(text: str, target: Target) -> Side:
    ledger: LedgerReader = target.ledger
    documents: Documents = target.documents
    if _VERSION.fullmatch(text):
        run = find_run(ledger, parse_version(text, ledger).run_id)
    else:
        run = find_run(ledger, text)
    found = RunDocuments.read(target.bucket, run.run_id, documents.content)
    if found.judgement is None:
        raise UsageError(f"Run {run.run_id} is {run.status.replace('_', ' ')} and has no model to compare.")
    return Side(run, found)


def _parts(first: Side, second: Side) -> Iterator[Part]:
    """One function a document, or of what several say together."""
    sides = (first, second)
    yield Part("Parameters", tuple(_rows(*map(_parameters, sides))))
    yield Part("Code", tuple(_rows(*map(_code, sides))))
    yield Part("Libraries", tuple(_rows(*(dict(_lineage(each).get("libraries") or {}) for each in sides))))
    yield _data(first, second)
    yield _columns(first, second)
    yield Part("Metrics, each on its own hold-out", tuple(_rows(*map(_metrics, sides))))
    yield Part("Slices, each on its own hold-out", tuple(_rows(*map(_slices, sides))))
    yield Part("Importance", tuple(_rows(*map(_importance, sides))))


def _rows(first: Json, second: Json) -> Iterator[Row]:
    for name in [*first, *(each for each in second if each not in first)]:
        yield Row(name, first.get(name), second.get(name))


def _lineage(side: Side) -> Json:
    return side.documents.lineage or {}


def _parameters(side: Side) -> dict[str, Any]:
    lineage, metric = _lineage(side), side.metric
    given = dict(lineage.get("hyperparameters") or side.run.hyperparameters)
    # The champion's digest is no setting; the seed and what a threshold serves have lines of their own.
    settings = {name: value for name, value in sorted(given.items()) if name not in _TOLD_APART}
    decision = side.judgement.get("decision") or {}
    return {
        "estimator": lineage.get("estimator"),
        "seed": lineage.get("seed"),
        **settings,
        "deciding metric": metric.get("name"),
        "threshold of the gate": metric.get("threshold"),
        "positive class": metric.get("positive_class"),
        "decision threshold": decision.get("threshold"),
        "the threshold serves": _goal(given.get("decision_goal")),
        "trigger": side.run.trigger,
    }


def _goal(text: str | None) -> str | None:
    """The goal of a decision threshold, which a job gets as JSON, in words."""
    if not text:
        return None
    try:
        return goal_in_words(Wish.from_json(text).goal.to_dict())
    except InvalidDecisionGoal:
        return text


def _code(side: Side) -> dict[str, Any]:
    run = _lineage(side).get("run") or {}
    return {
        "commit": run.get("source_commit") or side.run.source_commit,
        "training code": run.get("code_sha256"),
        "instance type": run.get("instance_type"),
    }


def _data(first: Side, second: Side) -> Part:
    objects = [
        {
            f"{each.get('key')}": each.get("version_id")
            for each in (side.documents.manifest or {}).get("objects") or []
        }
        for side in (first, second)
    ]
    lines = []
    for mine, others, title in (
        (objects[0], objects[1], first.title),
        (objects[1], objects[0], second.title),
    ):
        alone = [name.rpartition("/")[2] for name, version in mine.items() if others.get(name, "") != version]
        if alone and all(objects):
            lines.append(f"Only {title} was trained on {_named(alone)}.")
    return Part("Data", tuple(_rows(*map(_counts, (first, second)))), tuple(lines))


def _counts(side: Side) -> dict[str, Any]:
    report, manifest = side.documents.report or {}, side.documents.manifest or {}
    split = report.get("split") or {}
    found: dict[str, Any] = {"objects": len(manifest["objects"])} if "objects" in manifest else {}
    found |= {"drops taken": side.run.drops}
    found |= {f"rows {name}": count for name, count in (report.get("rows") or {}).items()}
    found |= {
        f"rows of {name}": (each or {}).get("rows") for name, each in (report.get("splits") or {}).items()
    }
    found |= {f"rows fitted of {name}": rows for name, rows in (_lineage(side).get("fitted") or {}).items()}
    found |= {
        "split": split_in_words(split),
        "groups": split.get("groups"),
    }
    boundaries = split.get("boundaries") or {}
    found |= {f"{name.replace('_', ' ')}": boundaries.get(name) for name in ("validation_from", "test_from")}
    found["data version"] = report.get("data_version")
    return {name: value for name, value in found.items() if value is not None}


def _columns(first: Side, second: Side) -> Part:
    """What became of the columns; equal ones are not listed."""
    found = []
    for side in (first, second):
        columns = (side.documents.contract or {}).get("columns") or []
        found.append({str(each.get("name")): f"{each.get('type')}, {each.get('role')}" for each in columns})
    rows = [row for row in _rows(*found) if row.differs] if all(found) else []
    counts = [Row("columns", len(found[0]) or None, len(found[1]) or None)]
    return Part("Columns", (*counts, *rows))


def _metrics(side: Side) -> dict[str, Any]:
    metric = side.metric
    positive = metric.get("positive_class")
    compared = side.judgement.get("compared") or {str(metric.get("name")): {"candidate": metric}}
    found: dict[str, Any] = {
        "verdict": side.judgement.get("verdict"),
        "hold-out rows": side.judgement.get("rows"),
    }
    for name, each in sorted(compared.items(), key=lambda item: item[0] != metric.get("name")):
        found[metric_title(name, positive)] = _interval(each.get("candidate"))
    decision = side.judgement.get("decision") or {}
    for name, errors in (("cost per 1,000 rows", "chosen"), ("cost by the likelier class", "argmax")):
        if (cost := (decision.get(errors) or {}).get("cost_per_1000")) is not None:
            found[name] = _interval(cost)
    return found


def _slices(side: Side) -> dict[str, Any]:
    return {
        f"{each.get('slice')} = {each.get('label')}": {"rows": each.get("rows"), **(_interval(each) or {})}
        for each in side.judgement.get("slices") or []
    }


def _importance(side: Side) -> dict[str, Any]:
    features = ((side.documents.diagnostics or {}).get("importance") or {}).get("features") or []
    return {str(each["name"]): each["mean"] for each in features}


def _interval(found: Json | None) -> dict[str, Any] | None:
    return None if found is None else {name: found.get(name) for name in ("value", "low", "high")}


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """
    >>> _shown(None), _shown(12000), _shown({"value": 0.91234, "low": 0.9, "high": 0.95}), _shown("yes")
    ('–', '12,000', '0.9123 [0.9, 0.95]', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return interval(value)
    if _is_number(value):
        return f"{value:,}" if isinstance(value, int) else told_apart(value)[0]
    return str(value)
