"""Judge: check what a training job uploaded, run the gate on it, and write down the verdict."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from dropforge.domain import archive, manifest
from dropforge.domain.decision_threshold import FILE_NAME as THRESHOLD
from dropforge.domain.diagnostics import FILE_NAME as DIAGNOSTICS
from dropforge.domain.diagnostics import diagnostics
from dropforge.domain.drift.column_effects import HOLDOUT_COLUMNS, unpack_columns
from dropforge.domain.drift.estimation import ESTIMATION, Calibration
from dropforge.domain.drift.scores import PREDICTION_PROFILE, prediction_profile
from dropforge.domain.drift.training_phases import TRAINING_PHASES, TrainingPhases
from dropforge.domain.errors import (
    InvalidEvent,
    InvalidModel,
    InvalidTrainingOutput,
    NotComparable,
    UnsafeArchive,
)
from dropforge.domain.evaluation import evaluation
from dropforge.domain.figures import told_apart
from dropforge.domain.gate import GatePolicy, Judgement, judge, refused_as_the_same
from dropforge.domain.guarded_slices import GUARDED_SLICES, guarded_document
from dropforge.domain.holdout import HoldOut
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.ports import ObjectStore
from dropforge.domain.slice_words import slices_told

MAXIMUM_OUTPUT_BYTES = 1024**3 + 64 * 1024**2
"""Decompressed bytes of output.tar.gz: the hold-out's bound and room for the report and the smoke rows."""

_OUTPUT_FILES = ("holdout.npz", "training_report.json", "smoke.json")
_MAXIMUM_MANIFEST_BYTES = 16 * 1024**2
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Champion:
    """The model version that serves now, as the run was admitted with it."""

    model_package_arn: str
    model_sha256: str
    model_digest: str | None = None
    version: int | None = None
    metric: Mapping[str, Any] | None = None
    """As it was judged then, on a hold-out of its own; None where an older release admitted the run."""


@dataclass(frozen=True)
class JudgeRequest:
    """What to judge, and by what policy.

    Attributes:
        run_id: the run's name, part of where the results go.
        model_data_url: ``s3://…/output/model.tar.gz``.
        output_data_url: ``s3://…/output/output.tar.gz``.
        models_prefix: ``s3://bucket/models``; results go to ``<models_prefix>/<run_id>/``.
        policy: of the gate.
        champion: the live version, None for a first model.
        lineage: facts about the run that the training job doesn't know; kept as they are.
    """

    run_id: str
    model_data_url: str
    output_data_url: str
    models_prefix: str
    policy: GatePolicy
    champion: Champion | None
    lineage: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any], data_bucket: str, policy: GatePolicy) -> JudgeRequest:
        """Read the state machine's input. Without `output_data_url`, output.tar.gz lies beside the model.

        Raises:
            InvalidEvent: a field is missing or has the wrong type; all of them are named.
        """
        texts = ("run_id", "model_data_url")
        problems = [name for name in texts if not isinstance(raw.get(name), str) or not raw[name]]
        champion = raw.get("champion")
        if champion is not None and not (
            isinstance(champion, Mapping)
            and all(isinstance(champion.get(n), str) for n in ("model_package_arn", "model_sha256"))
        ):
            problems.append("champion")
        if not isinstance(raw.get("lineage") or {}, Mapping):
            problems.append("lineage")
        output = raw.get("output_data_url")
        if output is not None and not isinstance(output, str):
            problems.append("output_data_url")
        if problems:
            raise InvalidEvent(f"judge_model: missing or of the wrong type: {', '.join(problems)}.")
        model = str(raw["model_data_url"])
        return cls(
            run_id=raw["run_id"],
            model_data_url=model,
            output_data_url=output or f"{model.rpartition('/')[0]}/output.tar.gz",
            models_prefix=f"s3://{data_bucket}/models",
            policy=policy,
            champion=None
            if champion is None
            else Champion(
                champion["model_package_arn"],
                champion["model_sha256"],
                champion.get("model_digest"),
                champion.get("version"),
                champion.get("metric"),
            ),
            lineage=dict(raw.get("lineage") or {}),
        )


@dataclass(frozen=True)
class _Evidence:
    """What the training job left, read whole and found to belong together and to the run."""

    model: Mapping[str, Any]
    model_sha256: str
    report: Mapping[str, Any]
    smoke: Mapping[str, Any]
    holdout: HoldOut
    champion_reason: str | None
    seen: HoldOut
    """The same hold-out, with the class that is looked for as the positive one."""
    calibration: Calibration
    """What quality is estimated by before outcomes come."""
    phases: bytes | None = None
    """``training_phases.json`` as the job wrote it; None where rows have no timestamps."""


def judge_model(request: JudgeRequest, store: ObjectStore) -> dict[str, Any]:
    """Judge a training job's model and write evaluation, judgement, smoke and lineage beside it.

    All evidence is read first, then the verdict is reached, then all documents are written.

    Effect: ``<models_prefix>/<run_id>/`` holds ``evaluation``, ``diagnostics``, ``judgement``, ``smoke``,
    ``lineage``, ``estimation`` and ``prediction_profile``, each ``.json``, with guarded columns
    ``guarded_slices.json``, and where rows have timestamps ``training_phases.json``. A rerun writes the same
    bytes. A rejected candidate is a result: nothing is raised for it.

    Returns:
        What the next states need, small enough to travel between them: ``verdict``, ``accepted``, ``metric``,
        ``metrics``, ``champion``, ``reasons``, ``slices_told``, the URIs, and the digests that tie the
        verdict to the archive.

    Raises:
        InvalidProfile: the job's ``training_phases.json`` can't be used.
        InvalidTrainingOutput: an archive lacks a file, is unsafe, or the two don't belong together.
        NotComparable: the job was not given the champion that the run was admitted with.
        InvalidSettings: the policy doesn't fit the task.
    """
    evidence = _read_evidence(request, store)
    judgement = _decide(request, evidence)
    verdict = _verdict(request, evidence, judgement)
    documents = _documents(request, evidence, judgement, verdict)
    folder = f"{request.models_prefix}/{request.run_id}"
    for name, content in documents.items():
        store.write(f"{folder}/{name}", content, content_type="application/json")
    told = ("evaluation", "diagnostics", "judgement", "smoke", "lineage")
    return {
        **{name: verdict[name] for name in ("verdict", "accepted")},
        "metric": {name: value for name, value in verdict["metric"].items() if name != "greater_is_better"},
        **{name: verdict[name] for name in ("metrics", "champion", "reasons")},
        **({"decision": verdict["decision"]} if "decision" in verdict else {}),
        "slices_told": slices_told(
            judgement.slices, metric_title(judgement.metric.name, judgement.positive_class)
        ),
        **{f"{name}_uri": f"{folder}/{name}.json" for name in told},
        "judgement_sha256": hashlib.sha256(documents["judgement.json"]).hexdigest(),
        **_digests(request, evidence),
    }


def _read_evidence(request: JudgeRequest, store: ObjectStore) -> _Evidence:
    model_sha256, model, threshold = _read_model(request.model_data_url, store)
    files = _read_output(request.output_data_url, store)
    report, smoke = (_object(files[name], name) for name in ("training_report.json", "smoke.json"))
    _check_consistency(report, smoke, model, threshold)
    champion_reason = _champion_reason(request.champion, report)
    holdout = HoldOut.from_npz(files["holdout.npz"], report)
    if (holdout.champion is None) == bool((report["champion"] or {}).get("scored")):
        raise InvalidTrainingOutput(
            "holdout.npz and training_report.json disagree on whether a champion was scored."
        )
    seen = holdout.with_positive(request.policy.positive_class)
    phases = files.get(TRAINING_PHASES)
    if phases is not None:
        TrainingPhases.from_json(phases)
    kept = files.get(HOLDOUT_COLUMNS)
    columns = () if kept is None else unpack_columns(kept, len(holdout.target))
    calibration = Calibration.learn(holdout.task, holdout.target, holdout.candidate, *columns)
    return _Evidence(model, model_sha256, report, smoke, holdout, champion_reason, seen, calibration, phases)


def _decide(request: JudgeRequest, evidence: _Evidence) -> Judgement:
    champion = request.champion
    judgement = judge(evidence.seen, request.policy, _not_scored(champion, evidence.champion_reason))
    if champion is not None and champion.model_digest == evidence.report["model_digest"]:
        return refused_as_the_same(judgement, champion.version)
    return judgement


def _verdict(request: JudgeRequest, evidence: _Evidence, judgement: Judgement) -> dict[str, Any]:
    """Return ``judgement.json``, but for the digest of the diagnostics that it binds."""
    return {
        **judgement.to_dict(),
        "run_id": request.run_id,
        "champion": _champion_summary(request.champion, judgement, evidence),
        **_digests(request, evidence),
    }


def _documents(
    request: JudgeRequest, evidence: _Evidence, judgement: Judgement, verdict: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the content of every file that a judgement leaves, by its name."""
    holdout, seen = evidence.holdout, evidence.seen
    scored = seen.of_candidate()
    values = {name: interval.value for name, interval in judgement.metrics.items()}
    deviations = {name: interval.deviation for name, interval in judgement.metrics.items()}
    curves = _json(diagnostics(seen, evidence.report))
    slicings = [each.slicing for each in seen.slices if each.slicing is not None]
    guarded = guarded_document(judgement.metric.name, slicings, judgement.slices)
    return {
        "evaluation.json": _json(evaluation(scored, values, deviations)),
        DIAGNOSTICS: curves,
        "smoke.json": _json(evidence.smoke),
        "lineage.json": _json(_lineage(request, evidence)),
        PREDICTION_PROFILE: _json(prediction_profile(holdout.task, holdout.classes, holdout.candidate)),
        ESTIMATION: _json(evidence.calibration.to_dict()),
        **({GUARDED_SLICES: _json(guarded)} if slicings else {}),
        **({} if evidence.phases is None else {TRAINING_PHASES: evidence.phases}),
        # Last, so that whoever finds a judgement finds all that it was reached by.
        "judgement.json": _json({**verdict, "diagnostics_sha256": hashlib.sha256(curves).hexdigest()}),
    }


def _digests(request: JudgeRequest, evidence: _Evidence) -> dict[str, str]:
    return {
        "model_digest": evidence.report["model_digest"],
        "model_sha256": evidence.model_sha256,
        "model_data_url": request.model_data_url,
    }


def _read_model(uri: str, store: ObjectStore) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """Return the SHA-256 of model.tar.gz, its model.json, and its decision threshold where it has one.

    Every file in it has its listed digest.
    """
    digest = hashlib.sha256()
    found: dict[str, str] = {}
    text: bytes | None = None
    threshold: bytes | None = None
    with tempfile.TemporaryFile() as local, store.open(uri) as remote:
        # One pass over S3: the bytes that are hashed are the bytes that are read.
        while block := remote.read(_BLOCK):
            digest.update(block)
            local.write(block)
        local.seek(0)
        try:
            for path, content in archive.files_of(cast(BinaryIO, local)):
                if path == manifest.FILE_NAME:
                    text = content.read(_MAXIMUM_MANIFEST_BYTES)
                elif path == THRESHOLD:
                    threshold = content.read(_MAXIMUM_MANIFEST_BYTES)
                    found[path] = hashlib.sha256(threshold).hexdigest()
                else:
                    found[path] = manifest.sha256_of(content)
            if text is None:
                raise InvalidTrainingOutput(
                    f"{uri} holds no {manifest.FILE_NAME}; it isn't what train.py writes."
                )
            model = manifest.parse(text)
        except (UnsafeArchive, InvalidModel) as error:
            raise InvalidTrainingOutput(f"{uri}: {error}") from error
    problems = manifest.differences(model["files"], found)
    if problems:
        raise InvalidTrainingOutput(f"{uri}: its files are not those of model.json: {'; '.join(problems)}.")
    return digest.hexdigest(), model, None if threshold is None else _object(threshold, THRESHOLD)


def _read_output(uri: str, store: ObjectStore) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with store.open(uri) as packed:
            for path, content in archive.files_of(packed, MAXIMUM_OUTPUT_BYTES):
                # The archive's paths may begin with a folder, depending on what packed /opt/ml/output/data.
                name = path.rpartition("/")[2]
                if name in (*_OUTPUT_FILES, TRAINING_PHASES, HOLDOUT_COLUMNS):
                    files[name] = content.read()
    except UnsafeArchive as error:
        raise InvalidTrainingOutput(f"{uri}: {error}") from error
    missing = [name for name in _OUTPUT_FILES if name not in files]
    if missing:
        raise InvalidTrainingOutput(f"{uri} holds no {', '.join(missing)}; it isn't what train.py writes.")
    return files


def _check_consistency(
    report: Mapping[str, Any],
    smoke: Mapping[str, Any],
    model: Mapping[str, Any],
    threshold: Mapping[str, Any] | None,
) -> None:
    needed = ("task", "classes", "slices", "champion", "model_digest", "contract_hash", "lineage")
    problems = [f"training_report.json lacks {name}" for name in needed if name not in report]
    for name in ("model_digest", "contract_hash", "task"):
        if name in report and report[name] != model.get(name):
            problems.append(
                f"{name} is {report[name]!r} in training_report.json, {model.get(name)!r} in model.json"
            )
    if report.get("decision") != threshold:
        problems.append(f"the decision threshold in training_report.json is not the one of {THRESHOLD}")
    rows = [smoke.get(name) for name in ("instances", "predictions")]
    if not all(isinstance(each, list) for each in rows) or len(rows[0] or ()) != len(rows[1] or ()):
        problems.append("smoke.json must hold as many predictions as instances")
    if problems:
        raise InvalidTrainingOutput(f"the job's archives don't fit each other: {'; '.join(problems)}.")


def _champion_reason(champion: Champion | None, report: Mapping[str, Any]) -> str | None:
    """Return why the champion was not scored; None where it was, or where there is none."""
    reported = report["champion"]
    given = None if reported is None else reported.get("sha256")
    wanted = None if champion is None else champion.model_sha256
    if given != wanted:
        raise NotComparable(
            f"the run's champion has the SHA-256 {wanted}, the training job was given {given}; train again."
        )
    if reported is None or reported.get("scored"):
        return None
    return str(reported.get("reason") or "the training job gave no reason")


def _not_scored(champion: Champion | None, reason: str | None) -> str | None:
    """Return what reviewers are told of a champion that wasn't scored: why, how good it was, what to do."""
    if reason is None:
        return None
    reason = reason.removeprefix(f"{NotComparable.__name__}: ").rstrip(".")
    recorded = None if champion is None else champion.metric
    if recorded is not None and recorded.get("value") is not None:
        value, low, high = told_apart(*(recorded.get(name) for name in ("value", "low", "high")))
        title = metric_title(str(recorded.get("name")), recorded.get("positive_class"))
        reason += f". On its own hold-out it had {title} {value} [{low}, {high}]"
    return f"{reason}. A candidate that is approved, with a reason, is what the next one is compared with."


def _champion_summary(
    champion: Champion | None, judgement: Judgement, evidence: _Evidence
) -> dict[str, Any] | None:
    if champion is None:
        return None
    reason, reported = evidence.champion_reason, evidence.report["champion"]
    return {
        "model_package_arn": champion.model_package_arn,
        "model_sha256": champion.model_sha256,
        "scored": reason is None,
        "reason": reason,
        # Absent where an older release trained the candidate, or admitted its run.
        "by": reported.get("by"),
        "libraries": reported.get("libraries"),
        "recorded": champion.metric,
        "metric": None if judgement.champion is None else judgement.champion.to_dict(),
        "difference": None if judgement.difference is None else judgement.difference.to_dict(),
    }


def _lineage(request: JudgeRequest, evidence: _Evidence) -> dict[str, Any]:
    model, report = evidence.model, evidence.report
    return {
        "format": 1,
        "run_id": request.run_id,
        **_digests(request, evidence),
        "contract_hash": report["contract_hash"],
        "estimator": model.get("estimator"),
        "hyperparameters": model.get("hyperparameters"),
        "libraries": model.get("libraries"),
        "seed": model.get("seed"),
        "fitted": model.get("fitted"),
        "training": report["lineage"],
        # Which rows each had decides on the model's last bits; absent where there was one.
        **({"instances": report["instances"]} if report.get("instances") else {}),
        **({"tuning": _search(report["tuning"])} if report.get("tuning") else {}),
        "run": dict(request.lineage),
    }


def _search(tuning: Mapping[str, Any]) -> dict[str, Any]:
    """What of a search is worth keeping; ``diagnostics.json`` has its trials."""
    return {name: tuning.get(name) for name in ("asked", "done", "stopped_by", "best", "parameters")}


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise InvalidTrainingOutput(f"{name} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidTrainingOutput(f"{name} must be a JSON object.")
    return content


def _json(content: Mapping[str, Any]) -> bytes:
    """One spelling per content, so that a rerun writes the same bytes."""
    return (
        json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()
