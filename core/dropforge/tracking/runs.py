"""What a tracker is told of a run: parameters, metrics with intervals, tags, data and files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropforge.domain.model_card import DOCUMENTS, RunDocuments
from dropforge.domain.moments import from_iso
from dropforge.domain.records import ModelVersion, Run, RunStatus
from dropforge.domain.verdicts import Verdict
from dropforge.tracking.charts import charts_of

RUN_TAG: Final = "dropforge.run_id"
EXPORTED_TAG: Final = "dropforge.exported"
"""Set when all of a run is there: whoever was interrupted before that puts it again."""
FORMAT: Final = "1"
VERSION_TAG: Final = "dropforge.version"

_LONGEST_PARAM, _LONGEST_TAG, _LONGEST_KEY = 6000, 5000, 250
_SLICES: Final = 50
_CUT: Final = " … (cut)"
_DIRTY: Final = "-dirty"
# https://mlflow.org/docs/latest/api_reference/python_api/mlflow.html#mlflow.log_metric
_NO_KEY: Final = re.compile(r"[^\w\-. :]|\.{2,}")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Dataset:
    """The data that a run was given.

    Attributes:
        digest: of its content, of 36 characters at most, which MLflow takes.
        source: where the prepared rows are.
    """

    name: str
    digest: str
    source: str
    schema: str
    profile: str


@dataclass(frozen=True)
class Told:
    """A run as a tracker keeps it. None of it changes any more.

    Attributes:
        params, metrics: by their keys.
        at_ms: when the metrics were measured, in milliseconds since 1970-01-01 UTC.
        files: by their path under the run's artifacts.
    """

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    at_ms: int
    dataset: Dataset | None
    files: Mapping[str, bytes]
    left_out: int


def is_told(run: Run) -> bool:
    """Whether there is something to tell of the run: one under way has neither model nor end."""
    return run.status.is_final or run.version is not None


def status_of(run: Run) -> str:
    """The run's status in MLflow's words; a verdict is an end, not a failure."""
    return {RunStatus.FAILED: "FAILED", RunStatus.STOPPED: "KILLED"}.get(run.status, "FINISHED")


def end_of(run: Run, model: ModelVersion | None) -> str:
    """When training was over: a version may wait for days, which is no work."""
    return model.registered_at if model is not None else run.ended_at or run.started_at


def tags_of(run: Run, model: ModelVersion | None, stack: str) -> dict[str, str]:
    """What may still change of a run, or is looked for by."""
    found: dict[str, Any] = {
        RUN_TAG: run.run_id,
        "mlflow.runName": run.run_id,
        "mlflow.user": run.requested_by,
        "mlflow.source.name": f"dropforge: {stack}",
        "mlflow.source.type": "JOB",
        "mlflow.note.content": _description(run, model),
        "dropforge.stack": stack,
        "dropforge.status": str(run.status),
        "dropforge.trigger": run.trigger,
        "dropforge.execution_arn": run.execution_arn,
        "dropforge.replay_of": run.replay_of,
        "dropforge.error": (run.error or {}).get("class"),
    }
    if run.source_commit:
        found["mlflow.source.git.commit"] = run.source_commit.removesuffix(_DIRTY)
        found["dropforge.source_commit"] = run.source_commit
    if model is not None:
        found |= {VERSION_TAG: model.version, **_standing(model)}
    return _texts(found)


def version_tags(model: ModelVersion, stack: str) -> dict[str, str]:
    """What a registered version is labelled with."""
    return _texts(
        {
            VERSION_TAG: model.version,
            RUN_TAG: model.run_id,
            "dropforge.stack": stack,
            **_standing(model),
            "dropforge.promoted_at": model.promoted_at,
            "dropforge.model_package_arn": model.model_package_arn,
            "dropforge.contract_hash": model.contract_hash,
            "dropforge.model_digest": model.model_digest,
            "dropforge.model_sha256": model.model_sha256,
        }
    )


def lineage_tags(documents: RunDocuments) -> dict[str, str]:
    """What a run's documents say of where its model comes from."""
    lineage, judgement = documents.lineage or {}, documents.judgement or {}
    run, report = lineage.get("run") or {}, documents.report or {}
    return _texts(
        {
            "dropforge.data_version": run.get("data_version") or report.get("data_version"),
            "dropforge.contract_hash": lineage.get("contract_hash") or report.get("contract_hash"),
            "dropforge.code_sha256": run.get("code_sha256"),
            "dropforge.training_job_arn": run.get("training_job_arn"),
            "dropforge.model_digest": lineage.get("model_digest"),
            "dropforge.model_sha256": lineage.get("model_sha256"),
            "dropforge.verdict": str(Verdict.of(judgement)) if judgement else None,
            "dropforge.positive_class": (judgement.get("metric") or {}).get("positive_class"),
            **{
                f"dropforge.library.{name}": version
                for name, version in sorted((lineage.get("libraries") or {}).items())
            },
        }
    )


def told_of(run: Run, model: ModelVersion | None, documents: RunDocuments, prefix: str) -> Told:
    """Return what a run that has ended, or became a version, has to tell.

    Args:
        prefix: ``s3://bucket``, under which its documents are.
    """
    found = dict(_metrics(documents))
    finite = {name: float(value) for name, value in found.items() if _is_finite(value)}
    files = {
        path: _json(getattr(documents, name)) for name, path in _FILES.items() if getattr(documents, name)
    }
    charts = charts_of(documents.diagnostics) if documents.diagnostics else {}
    return Told(
        params=_texts(_params(run, documents), _LONGEST_PARAM),
        metrics=finite,
        at_ms=epoch_ms(end_of(run, model)),
        dataset=_dataset(run, documents, prefix),
        files={**files, **{f"plots/{name}": picture for name, picture in charts.items()}},
        left_out=len(found) - len(finite),
    )


_FILES: Final = {name: path.replace("contract/schema", "contract") for name, (_, path) in DOCUMENTS.items()}


def epoch_ms(moment: str) -> int:
    """Milliseconds since 1970-01-01 UTC of an ISO moment."""
    return round(from_iso(moment).timestamp() * 1000)


def _description(run: Run, model: ModelVersion | None) -> str:
    if run.error:
        return f"{run.error.get('class')}: {run.error.get('message')}"
    reasons = " ".join(str(each.get("message", "")) for each in run.reasons)
    version = "" if model is None else f"Version {model.version}, {model.stage}, {model.approval}. "
    return f"{version}{reasons}".strip() or f"Run {run.run_id}: {str(run.status).replace('_', ' ')}."


def _standing(model: ModelVersion) -> dict[str, Any]:
    return {
        "dropforge.stage": str(model.stage),
        "dropforge.approval": str(model.approval),
        "dropforge.decided_by": model.decided_by,
        "dropforge.decided_at": model.decided_at,
        "dropforge.decision_reason": model.decision_reason,
    }


def _params(run: Run, documents: RunDocuments) -> dict[str, Any]:
    lineage, contract = documents.lineage or {}, documents.contract or {}
    judgement = documents.judgement or {}
    given = lineage.get("hyperparameters") or run.hyperparameters
    return {
        **{name: value for name, value in given.items() if name != "champion_sha256"},
        "estimator": lineage.get("estimator"),
        "seed": lineage.get("seed"),
        "task": contract.get("task"),
        "target": contract.get("target"),
        "features": sum(each.get("role") == "feature" for each in contract.get("columns") or []) or None,
        "deciding_metric": (judgement.get("metric") or {}).get("name"),
        "gate_threshold": (judgement.get("metric") or {}).get("threshold"),
        "decision_threshold": (judgement.get("decision") or {}).get("threshold"),
        "instance_type": (lineage.get("run") or {}).get("instance_type"),
    }


def _metrics(documents: RunDocuments) -> Iterator[tuple[str, Any]]:
    """Every metric with the ends of its interval: the candidate's, the live model's, and their difference."""
    judgement, report = documents.judgement or {}, documents.report or {}
    metric = judgement.get("metric") or {}
    name = str(metric.get("name", "metric"))
    compared = judgement.get("compared") or ({name: {"candidate": metric}} if metric else {})
    for each, raw in compared.items():
        for side, prefix in (("candidate", ""), ("champion", "champion/"), ("difference", "difference/")):
            yield from _interval(f"{prefix}{_key(each)}", raw.get(side))
    slices = sorted(judgement.get("slices") or [], key=lambda each: -int(each.get("rows") or 0))
    for each in slices[:_SLICES]:
        path = f"slice/{_key(each.get('slice'))}/{_key(each.get('label'))}"
        yield from _interval(f"{path}/{_key(name)}", each)
        yield f"{path}/rows", each.get("rows")
    if "rows" in judgement:
        yield "holdout_rows", judgement["rows"]
    for each, count in (report.get("rows") or {}).items():
        if count is not None:
            yield f"rows/{_key(each)}", count
    for each, split in (report.get("splits") or {}).items():
        if (split or {}).get("rows") is not None:
            yield f"rows/{_key(each)}", split["rows"]


def _interval(key: str, found: Json | None) -> Iterator[tuple[str, Any]]:
    if found is not None:
        yield key, found.get("value")
        yield f"{key}_low", found.get("low")
        yield f"{key}_high", found.get("high")


def _dataset(run: Run, documents: RunDocuments, prefix: str) -> Dataset | None:
    version = (documents.report or {}).get("data_version")
    if not version:
        return None
    columns = (documents.contract or {}).get("columns") or []
    # MLflow's own form of a schema, which its pages show.
    schema = {
        "mlflow_colspec": [
            {
                "name": each["name"],
                "type": _COLUMN_TYPES.get(each["type"], "string"),
                "required": not each["nullable"],
            }
            for each in columns
        ]
    }
    rows = ((documents.report or {}).get("rows") or {}).get("kept")
    return Dataset(
        name="dropped files",
        digest=str(version)[:36],
        source=f"{prefix}/runs/{run.run_id}/",
        schema=json.dumps(schema, ensure_ascii=False),
        profile=json.dumps({"num_rows": rows, "num_objects": run.objects}),
    )


_COLUMN_TYPES: Final = {"number": "double", "integer": "long", "boolean": "boolean", "timestamp": "datetime"}


def _key(text: Any) -> str:
    """A text as a part of a key: MLflow takes few characters.

    >>> _key("f1 (macro)"), _key("a/b"), _key("..")
    ('f1 _macro_', 'a_b', '_')
    """
    return _NO_KEY.sub("_", str(text)).strip(" .")[: _LONGEST_KEY // 5] or "_"


def _texts(values: Mapping[str, Any], longest: int = _LONGEST_TAG) -> dict[str, str]:
    """Values as texts, without those that aren't known; what is too long says that it was cut."""
    found = {}
    for name, value in values.items():
        if value is None or value == "":
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        key = "/".join(map(_key, name.split("/")))
        found[key] = text if len(text) <= longest else text[: longest - len(_CUT)] + _CUT
    return found


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
