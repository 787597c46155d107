"""Two models on the same rows: what their runs' hold-outs have in common, measured with intervals."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
from botocore.exceptions import ClientError

from dropforge.domain import archive
from dropforge.domain.comparison import compare
from dropforge.domain.errors import InvalidTrainingOutput, UnsafeArchive
from dropforge.domain.holdout import MAXIMUM_BYTES, HoldOut
from dropforge.domain.metric_registry import METRICS
from dropforge.domain.ports import ObjectRef
from dropforge.domain.resampling import resamples_for
from dropforge_ops.errors import code_of

_RESAMPLES: Final = 1000
_READ_BYTES: Final = MAXIMUM_BYTES + 64 * 1024**2
_FILES: Final = ("holdout.npz", "training_report.json")
_GONE: Final = ("NoSuchKey", "404", "NotFound")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Paired:
    """Both models on the rows that both were scored on.

    Attributes:
        rows: how many these are; 0 where there are none.
        how: which rows these are, or why there are none.
        metrics: by name: ``first`` and ``second`` with their intervals, and the paired ``difference``, which
            is above 0 where the second is better.
        left_out: rows of both hold-outs whose true value differs between them.
    """

    rows: int
    how: str
    metrics: Mapping[str, Json]
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "how": self.how, "left_out": self.left_out, "metrics": dict(self.metrics)}


class Unpaired(Exception):
    """Why two models can't be compared on the same rows."""


def compare_on_same_rows(first: Json, second: Json, positive: str | None, s3: Any) -> Paired:
    """Measure two models on the rows that both were scored on, and that neither has learned from.

    Where one of them was live when the other was judged, these are all rows of that hold-out; otherwise those
    that lie in the hold-outs of both runs.

    Args:
        first, second: ``lineage.json`` of each run.
        positive: of two classes the one that is looked for.
    """
    try:
        return _compared(first, second, positive, s3)
    except Unpaired as reason:
        return Paired(0, f"They can't be compared on the same rows: {reason}", {})


@dataclass(frozen=True)
class _Scores:
    """A run's hold-out, and which model was its champion."""

    holdout: HoldOut
    champion_sha256: str | None

    def is_beside(self, other: Json) -> bool:
        """Whether the other run's model was scored on this hold-out, too."""
        return self.holdout.champion is not None and self.champion_sha256 == other.get("model_sha256")


def _compared(first: Json, second: Json, positive: str | None, s3: Any) -> Paired:
    of_first, of_second = _scores(first, s3), _scores(second, s3)
    left, right = of_first.holdout, of_second.holdout
    if (left.task, left.classes) != (right.task, right.classes):
        raise Unpaired("the classes that they tell apart differ.")
    if of_second.is_beside(first):
        return _measured(
            right, "all hold-out rows of the second, which was judged beside the first", positive
        )
    if of_first.is_beside(second) and left.champion is not None:
        both = replace(
            left,
            candidate=left.champion,
            champion=left.candidate,
            threshold=left.champion_threshold,
            champion_threshold=left.threshold,
        )
        return _measured(both, "all hold-out rows of the first, which was judged beside the second", positive)
    _, ours, theirs = np.intersect1d(left.row_key, right.row_key, assume_unique=True, return_indices=True)
    if not len(ours):
        raise Unpaired("no row lies in the hold-outs of both runs.")
    same = left.target[ours] == right.target[theirs]
    left_out = int((~same).sum())
    ours, theirs = ours[same], theirs[same]
    if not len(ours):
        raise Unpaired("the rows in the hold-outs of both runs have other true values by now.")
    both = HoldOut(
        right.task,
        right.classes,
        right.row_key[theirs],
        right.target[theirs],
        right.candidate[theirs],
        left.candidate[ours],
        group=None if right.group is None else right.group[theirs],
        threshold=right.threshold,
        champion_threshold=left.threshold,
    )
    return _measured(both, "the rows that lie in the hold-outs of both runs", positive, left_out)


def _measured(both: HoldOut, how: str, positive: str | None, left_out: int = 0) -> Paired:
    """Measure the second model, the candidate, beside the first, the champion."""
    seen = both.with_positive(positive if positive in (both.classes or ()) else None)
    assert seen.champion is not None  # noqa: S101 - there are two models
    rows = len(seen.target)
    if not (np.isfinite(seen.candidate).all() and np.isfinite(seen.champion).all()):
        raise Unpaired("some of the predictions are not finite.")
    found = compare(
        seen.of_candidate(),
        seen.of_champion(),
        tuple(METRICS[seen.task]),
        classes=seen.classes,
        resamples=resamples_for(rows, _RESAMPLES),
        seed=0,
        groups=seen.group,
    )
    metrics = {}
    for name, each in found.items():
        told = each.to_dict()
        metrics[name] = {
            "greater_is_better": told["greater_is_better"],
            "first": told["champion"],
            "second": told["candidate"],
            "difference": told["difference"],
            "shortage": each.difference_shortage,
        }
    return Paired(rows, how, metrics, left_out)


def _scores(lineage: Json, s3: Any) -> _Scores:
    files = _files(lineage, s3)
    try:
        report = json.loads(files["training_report.json"])
        holdout = HoldOut.from_npz(files["holdout.npz"], report)
    except (InvalidTrainingOutput, ValueError) as error:
        raise Unpaired(f"the scores of run {lineage.get('run_id')} can't be read ({error})") from error
    return _Scores(holdout, (report.get("champion") or {}).get("sha256"))


def _files(lineage: Json, s3: Any) -> dict[str, bytes]:
    """The files that a run's training job left beside its model."""
    model = str(lineage.get("model_data_url") or "")
    run = lineage.get("run_id")
    if not model.startswith("s3://"):
        raise Unpaired(f"run {run} names no archive.")
    uri = f"{model.rpartition('/')[0]}/output.tar.gz"
    ref = ObjectRef.from_uri(uri)
    found: dict[str, bytes] = {}
    try:
        with tempfile.TemporaryFile() as local:
            s3.download_fileobj(ref.bucket, ref.key, local)
            local.seek(0)
            for path, content in archive.files_of(cast(Any, local), _READ_BYTES):
                name = path.rpartition("/")[2]
                if name in _FILES:
                    found[name] = content.read()
    except ClientError as error:
        if code_of(error) not in _GONE:
            raise
        raise Unpaired(f"{uri}, the scores of run {run}, is gone.") from error
    except UnsafeArchive as error:
        raise Unpaired(f"{uri} can't be read: {error}") from error
    if set(found) != set(_FILES):
        raise Unpaired(f"{uri} holds no scores.")
    return found
