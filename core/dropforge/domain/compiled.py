"""A model as plain numbers: what serving needs of a fitted estimator, without the estimator.

``compiled.npz`` in a model archive holds it. Loading it imports nothing but numpy and unpickles nothing, and
a row's scores cost microseconds instead of an estimator's validation and conversions. It is written in
training only where its scores were found to be the estimator's (see `TOLERANCE`).

A form answers with raw scores, float64 (n, k); `Compiled` turns them into probabilities or values through the
inverse of the loss's link function.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.errors import InvalidModel
from dropforge.domain.linear_form import LinearForm
from dropforge.domain.tree_form import TreeForm

FORMAT = 1
FILE_NAME = "compiled.npz"

TOLERANCE = 1e-9
"""Largest difference from the estimator's own scores at which a compiled form is used: absolute for
probabilities, relative for values beyond 1. Summing in another order differs by about 1e-16 per term."""

Matrix = NDArray[np.float64]


class Form(Protocol):
    """What maps the encoded matrix, float64 (n, n_columns) with NaN for missing, to raw scores (n, k)."""

    def raw(self, matrix: Matrix) -> Matrix: ...

    def to_arrays(self) -> dict[str, NDArray[Any]]: ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self: ...


FORMS: Mapping[str, type[Form]] = {"linear": LinearForm, "trees": TreeForm}


def logistic(raw: Matrix) -> Matrix:
    """Map log-odds (n, 1) of the second class to the probabilities (n, 2). No input overflows."""
    odds = raw[:, 0]
    small = np.exp(-np.abs(odds))
    likely, unlikely = 1.0 / (1.0 + small), small / (1.0 + small)
    second = np.where(odds >= 0, likely, unlikely)
    return np.stack([1.0 - second, second], axis=1)


def softmax(raw: Matrix) -> Matrix:
    """Map raw scores (n, k) to probabilities (n, k) that add up to 1 per row."""
    shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _identity(raw: Matrix) -> Matrix:
    return raw[:, 0]


def _exponential(raw: Matrix) -> Matrix:
    return np.exp(raw[:, 0])


LINKS: Mapping[str, Callable[[Matrix], Matrix]] = {
    "identity": _identity,
    "log": _exponential,
    "logit": logistic,
    "multinomial": softmax,
}
"""Inverse link functions, by the name of the link."""


@dataclass(frozen=True)
class Compiled:
    """A form with its link. ``classes`` are the codes that its columns stand for; None for a regression."""

    form: Form
    link: str
    classes: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """``linear`` or ``trees``."""
        return next(kind for kind, form in FORMS.items() if isinstance(self.form, form))

    def of_classes(self, labels: NDArray[Any]) -> Compiled:
        """Return it with class code i renamed to ``labels[i]``, as a wrapping estimator names its classes."""
        if self.classes is None:
            return self
        return replace(self, classes=tuple(int(labels[code]) for code in self.classes))

    def scorer(self, n_classes: int) -> Callable[[Matrix], Matrix]:
        """Return the function from the encoded matrix to (n, n_classes) probabilities, or (n,) values.

        A class that the model doesn't know gets probability 0.
        """
        raw, inverse, classes = self.form.raw, LINKS[self.link], self.classes
        if classes is None or classes == tuple(range(n_classes)):
            return lambda matrix: inverse(raw(matrix))
        known = list(classes)

        def score(matrix: Matrix) -> Matrix:
            scores = np.zeros((len(matrix), n_classes))
            scores[:, known] = inverse(raw(matrix))
            return scores

        return score

    def write(self, path: Path) -> None:
        """Write the file; equal models give equal bytes."""
        arrays = {
            "format": np.array(FORMAT),
            "kind": np.array(self.kind),
            "link": np.array(self.link),
            "classes": np.array(() if self.classes is None else self.classes, dtype=np.int64),
            **self.form.to_arrays(),
        }
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> Compiled:
        """Read what `write` wrote.

        Raises:
            InvalidModel: the file is no compiled model of this format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if int(arrays["format"]) != FORMAT:
                raise InvalidModel(f"{path.name} has the format {arrays['format']}, not {FORMAT}.")
            form = FORMS[str(arrays["kind"])].from_arrays(arrays)
            link, classes = str(arrays["link"]), tuple(arrays["classes"].tolist())
            LINKS[link]  # an unknown link must be found before a request is
        except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            raise InvalidModel(f"{path.name} can't be read ({error!r}); train the model again.") from error
        return cls(form, link, classes or None)


def largest_difference(scores: Matrix, reference: Matrix) -> float:
    """Return the largest difference between two models' scores; see `TOLERANCE`. Infinite if they don't fit.

    Example:
        >>> largest_difference(np.array([1000.0, 0.5]), np.array([1001.0, 0.5])) < 0.001
        True
    """
    if scores.shape != reference.shape or not np.isfinite(scores).all():
        return float("inf")
    differences = np.abs(scores - reference) / np.maximum(np.abs(reference), 1.0)
    return float(differences.max(initial=0.0))
