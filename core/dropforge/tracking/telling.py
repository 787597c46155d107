"""Tells a tracker what it doesn't know yet. Told again, it changes nothing."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from dropforge.domain.errors import ArtifactChanged, InvalidModel, ObjectMissing, UnsafeArchive
from dropforge.domain.manifest import sha256_of
from dropforge.domain.model_card import RunDocuments
from dropforge.domain.records import ModelVersion, Run, Stage
from dropforge.tracking.model_files import ARCHIVE, FOLDER, Packed, model_files
from dropforge.tracking.runs import (
    EXPORTED_TAG,
    FORMAT,
    RUN_TAG,
    VERSION_TAG,
    end_of,
    epoch_ms,
    is_told,
    lineage_tags,
    status_of,
    tags_of,
    told_of,
    version_tags,
)
from dropforge.tracking.tracker import TrackedRun, Tracker

_CARD_TAG: Final = "dropforge.card_sha256"
_MODEL_TAG: Final = "dropforge.model"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where runs and what they left are read.

    Attributes:
        stack: its name, for people.
        model: the name of experiment and registered model.
        content: returns the JSON object at a URI, None where there is none.
        download: writes the object at a URI to a file. Raises ObjectMissing, also where it is too large.
        card: a version's model card, as files by name.
    """

    stack: str
    model: str
    bucket: str
    content: Callable[[str], Json | None]
    download: Callable[[str, BinaryIO], None]
    card: Callable[[ModelVersion], Mapping[str, bytes]]


@dataclass
class Telling:
    """What became of it: names of runs and versions that were new, or were changed."""

    experiment: str
    model: str
    runs: int = 0
    new_runs: int = 0
    changed_runs: int = 0
    under_way: int = 0
    versions: int = 0
    new_versions: int = 0
    models_gone: int = 0


def tell(runs: Iterable[Run], models: Iterable[ModelVersion], source: Source, tracker: Tracker) -> Telling:
    """Bring a tracker up to what runs and versions say, the oldest first: it counts versions by itself.

    Effect: an experiment and a registered model of the name; a run for each run that has ended or became
    a version; each version, labelled by its stage. What a run left is put once, what may change is compared.
    """
    by_run = {each.run_id: each for each in models}
    experiment = tracker.experiment(source.model)
    known = {each.tags[RUN_TAG]: each for each in tracker.runs(experiment) if RUN_TAG in each.tags}
    telling = Telling(experiment, source.model)
    tracked = dict(known)
    for run in sorted(runs, key=lambda each: (each.started_at, each.run_id)):
        if not is_told(run):
            telling.under_way += 1
            continue
        telling.runs += 1
        model = by_run.get(run.run_id)
        tracked[run.run_id] = _tell_run(run, model, known.get(run.run_id), source, tracker, telling)
    _tell_versions(sorted(by_run.values(), key=lambda each: each.version), tracked, source, tracker, telling)
    return telling


def _tell_run(
    run: Run,
    model: ModelVersion | None,
    found: TrackedRun | None,
    source: Source,
    tracker: Tracker,
    telling: Telling,
) -> TrackedRun:
    tags = tags_of(run, model, source.stack)
    ended = epoch_ms(end_of(run, model))
    if found is None:
        found = tracker.create_run(telling.experiment, run.run_id, epoch_ms(run.started_at), tags)
        telling.new_runs += 1
    elif found.tags.get(EXPORTED_TAG) == FORMAT and not _is_new(tags, found.tags):
        tags = {}
    else:
        telling.changed_runs += 1
    if found.tags.get(EXPORTED_TAG) != FORMAT:
        tags |= _tell_all(run, model, found, source, tracker)
    tags |= _tell_card(model, found, source, tracker)
    if tags:
        tracker.set_tags(found.id, tags)
    if (found.status, found.end_ms) != (status_of(run), ended):
        tracker.end_run(found.id, status_of(run), ended)
    return TrackedRun(found.id, found.artifacts, found.status, found.end_ms, {**found.tags, **tags})


def _tell_all(
    run: Run, model: ModelVersion | None, found: TrackedRun, source: Source, tracker: Tracker
) -> dict[str, str]:
    """Put what a run left. Returns its tags; with the last of them it counts as told."""
    documents = RunDocuments.read(source.bucket, run.run_id, source.content)
    told = told_of(run, model, documents, f"s3://{source.bucket}")
    tracker.log_values(found.id, told.params, told.metrics, told.at_ms)
    if told.dataset is not None:
        tracker.log_dataset(found.id, told.dataset)
    for path, content in told.files.items():
        tracker.put_file(found, path, content)
    tags = lineage_tags(documents)
    if told.left_out:
        tags["dropforge.metrics_left_out"] = f"{told.left_out} that are no finite numbers"
    if (documents.lineage or {}).get("model_sha256"):
        tags |= _tell_model(run, model, documents.lineage or {}, found, source, tracker)
    return {**tags, EXPORTED_TAG: FORMAT}


def _tell_model(
    run: Run, model: ModelVersion | None, lineage: Json, found: TrackedRun, source: Source, tracker: Tracker
) -> dict[str, str]:
    """Put the model that a run trained: the very archive that was judged.

    One that is gone or is another one by now is said in a tag: it must not keep other runs from being told.
    """
    wanted = str(lineage["model_sha256"])
    copies = [] if model is None else [model.model_data_url]
    with tempfile.TemporaryFile() as local:
        archive = cast(BinaryIO, local)
        try:
            _read_judged([*copies, str(lineage["model_data_url"])], wanted, source, archive)
            packed = Packed.read(archive)
        except (ObjectMissing, ArtifactChanged, UnsafeArchive, InvalidModel) as error:
            return {_MODEL_TAG: f"not here: {error}"}
        for path, content in model_files(packed, wanted, end_of(run, model), found.id).items():
            tracker.put_file(found, f"{FOLDER}/{path}", content)
        archive.seek(0)
        tracker.put_file(found, f"{FOLDER}/{ARCHIVE}", archive)
    return {_MODEL_TAG: FOLDER}


def _read_judged(places: Sequence[str], wanted: str, source: Source, archive: BinaryIO) -> None:
    """Download the archive with the SHA-256 that was judged, from the first place that has one.

    Raises:
        ObjectMissing: none has.
        ArtifactChanged: it is another one.
    """
    for place in places:
        try:
            source.download(place, archive)
        except ObjectMissing:
            if place == places[-1]:
                raise
            continue
        archive.seek(0)
        found = sha256_of(archive)
        archive.seek(0)
        if found != wanted:
            raise ArtifactChanged(
                f"{place} has the SHA-256 {found}, but the one that was judged has {wanted}. Restore that "
                "version of the object in S3."
            )
        return


def _tell_card(
    model: ModelVersion | None, found: TrackedRun, source: Source, tracker: Tracker
) -> dict[str, str]:
    """Put a version's card where it has changed: it is signed, and people write into it."""
    if model is None:
        return {}
    files = source.card(model)
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content + b"\0")
    if not files or found.tags.get(_CARD_TAG) == digest.hexdigest():
        return {}
    for name, content in files.items():
        tracker.put_file(found, name, content)
    return {_CARD_TAG: digest.hexdigest()}


def _tell_versions(
    models: list[ModelVersion],
    tracked: Mapping[str, TrackedRun],
    source: Source,
    tracker: Tracker,
    telling: Telling,
) -> None:
    known = {}
    if models:
        tracker.register(source.model, f"Trained, judged and reviewed by dropforge, stack {source.stack}.")
        known = {each.tags.get(VERSION_TAG): each for each in tracker.versions(source.model)}
    newest: dict[Stage, str] = {}
    for model in models:
        tags, run = version_tags(model, source.stack), tracked.get(model.run_id)
        version = known.get(str(model.version))
        if version is None and (run is None or run.tags.get(_MODEL_TAG) != FOLDER):
            telling.models_gone += 1
            continue
        if version is None:
            assert run is not None  # noqa: S101 - asked above
            version = tracker.create_version(source.model, run, FOLDER, _description(model), tags)
            telling.new_versions += 1
        elif _is_new(tags, version.tags):
            tracker.tag_version(source.model, version.number, tags)
        telling.versions += 1
        newest[model.stage] = version.number
    if models:
        _tell_aliases(newest, source.model, tracker)


def _description(model: ModelVersion) -> str:
    """A sentence about a version."""
    metric = model.metric
    measured = f"{metric.get('name')} {metric.get('value')}"
    return f"dropforge's version {model.version}, from run {model.run_id}: {measured}."


def _tell_aliases(newest: Mapping[Stage, str], model: str, tracker: Tracker) -> None:
    """Let each stage's alias name the newest version in it: production is what is live."""
    found = tracker.aliases(model)
    for stage in Stage:
        alias, number = str(stage).lower(), newest.get(stage)
        if number is not None and found.get(alias) != number:
            tracker.set_alias(model, alias, number)
        elif number is None and alias in found:
            tracker.remove_alias(model, alias)


def _is_new(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return any(found.get(name) != value for name, value in wanted.items())
