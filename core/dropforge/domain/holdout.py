"""The hold-out as the training job hands it over: true targets and both models' predictions, no pickles."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.errors import InvalidModel, InvalidSettings, InvalidTrainingOutput
from dropforge.domain.metrics import Scored
from dropforge.domain.slicing import Slicing

MAXIMUM_BYTES = 1024**3
"""Bytes of all arrays together; 1 GiB is about 20 million rows of a binary task with a champion."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A column by whose values quality is reported; ``labels`` are the values, by code.

    ``slicing`` says how a guarded column's values were sliced, None of a column that is only reported.
    """

    name: str
    labels: tuple[str, ...]
    slicing: Slicing | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """Read an entry of ``slices`` in ``training_report.json``."""
        slicing = raw.get("slicing")
        return cls(raw["name"], tuple(raw["labels"]), None if slicing is None else Slicing.from_dict(slicing))


@dataclass(frozen=True)
class HoldOut:
    """Rows that neither model has learned from.

    Attributes:
        task: binary, multiclass or regression.
        classes: the class labels by code, None for a regression.
        row_key: uint64 (n,).
        target: int64 codes (n,), or float64 (n,).
        candidate: float64 probabilities (n, n_classes), or values (n,).
        champion: likewise, None where none was scored.
        slices: what the columns of `slice_codes` are.
        slice_codes: int16 (n, n_slices), −1 for a row of none.
        threshold, champion_threshold: the models' decision thresholds; None where the class of the highest
            probability is the label, as in every model of the releases before there were thresholds.
        group: int64 (n,), which rows belong together, None where each is for itself. Releases before there
            were groups wrote none.
    """

    task: str
    classes: tuple[str, ...] | None
    row_key: NDArray[np.uint64]
    target: NDArray[Any]
    candidate: NDArray[np.float64]
    champion: NDArray[np.float64] | None = None
    slices: tuple[Slice, ...] = ()
    slice_codes: NDArray[np.int16] | None = None
    group: NDArray[np.int64] | None = None
    threshold: DecisionThreshold | None = None
    champion_threshold: DecisionThreshold | None = None

    def of_candidate(self, rows: NDArray[np.intp] | slice = slice(None)) -> Scored:
        """Return the candidate's scores and labels, of some rows or of all."""
        return self._scored(self.candidate, self.threshold, rows)

    def of_champion(self, rows: NDArray[np.intp] | slice = slice(None)) -> Scored | None:
        """Return the champion's, None where none was scored."""
        if self.champion is None:
            return None
        return self._scored(self.champion, self.champion_threshold, rows)

    def _scored(
        self,
        scores: NDArray[np.float64],
        threshold: DecisionThreshold | None,
        rows: NDArray[np.intp] | slice,
    ) -> Scored:
        chosen = scores[rows]
        labels = None if threshold is None else threshold.labels(self.classes or (), chosen)
        return Scored(self.task, self.target[rows], chosen, labels)

    @property
    def positive(self) -> str | None:
        """Of two classes the positive one, which has the code 1; else None."""
        return self.classes[1] if self.task == "binary" and self.classes is not None else None

    def with_positive(self, label: str | None) -> HoldOut:
        """Return the same rows with a class as the positive one; None stands for the one that is.

        Raises:
            InvalidSettings: there is no such class, or there are not two.
        """
        if label is None or label == self.positive:
            return self
        if self.task != "binary" or label not in (self.classes or ()):
            raise InvalidSettings(
                f"PositiveClass is {label!r}, but the task is {self.task} and its classes are "
                f"{', '.join(self.classes or ('none',))}."
            )
        return replace(
            self,
            classes=(self.classes or ())[::-1],
            target=1 - self.target,
            candidate=self.candidate[:, ::-1],
            champion=None if self.champion is None else self.champion[:, ::-1],
        )

    def __post_init__(self) -> None:
        n = len(self.target)
        scores = (n,) if self.classes is None else (n, len(self.classes))
        expected: dict[str, tuple[tuple[int, ...], str]] = {
            "row_key": ((n,), "u"),
            "target": ((n,), "f" if self.classes is None else "i"),
            "candidate": (scores, "f"),
            "champion": (scores, "f"),
            "slice_codes": ((n, len(self.slices)), "i"),
            "group": ((n,), "i"),
        }
        problems = []
        for name, (shape, kind) in expected.items():
            array = getattr(self, name)
            if array is not None and (array.shape != shape or array.dtype.kind != kind):
                problems.append(f"{name} is {array.dtype}{list(array.shape)}, expected {kind}{list(shape)}")
        codes = np.arange(len(self.classes or ()))
        if not problems and self.classes is not None and not np.isin(self.target, codes).all():
            problems.append(f"target holds codes outside 0..{len(self.classes) - 1}")
        problems += [
            f"a decision threshold is for {each.positive!r}, which is none of two classes"
            for each in (self.threshold, self.champion_threshold)
            if each is not None and (self.task != "binary" or each.positive not in (self.classes or ()))
        ]
        if not problems and len(np.unique(self.row_key)) != n:
            problems.append("row_key holds a row twice")
        if problems:
            raise InvalidTrainingOutput(f"holdout.npz: {'; '.join(problems)}.")

    @classmethod
    def from_npz(cls, data: bytes, report: Mapping[str, Any]) -> HoldOut:
        """Read ``holdout.npz`` with the task, classes and slices of ``training_report.json``.

        Raises:
            InvalidTrainingOutput: the file is damaged, too large, holds objects, or doesn't fit the report.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as zipped:
                size = sum(entry.file_size for entry in zipped.infolist())
            if size > MAXIMUM_BYTES:
                raise InvalidTrainingOutput(
                    f"holdout.npz holds {size} bytes, at most {MAXIMUM_BYTES} are read; hold out fewer rows."
                )
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            classes = report["classes"]
            return cls(
                task=report["task"],
                classes=None if classes is None else tuple(map(str, classes)),
                row_key=found["row_key"],
                target=found["target"],
                candidate=found["candidate"],
                champion=found.get("champion"),
                slices=tuple(map(Slice.of, report["slices"])),
                slice_codes=found["slice_codes"],
                group=found.get("group"),
                threshold=_threshold_of(report),
                champion_threshold=_threshold_of(report.get("champion") or {}),
            )
        except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, TypeError) as error:
            raise InvalidTrainingOutput(
                f"holdout.npz can't be read ({error!r}); it isn't what train.py writes."
            ) from error
        except InvalidModel as error:
            raise InvalidTrainingOutput(f"training_report.json: {error}") from error


def _threshold_of(entry: Mapping[str, Any]) -> DecisionThreshold | None:
    found = entry.get("decision")
    return None if found is None else DecisionThreshold.from_dict(found)
