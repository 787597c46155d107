"""Fits what `build_model` returns: on the training rows first, then on the validation rows too."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
from dropforge.domain.contract import Contract
from dropforge.domain.errors import UnusableEstimator
from dropforge.domain.metric_registry import metric_line
from dropforge.domain.metrics import Scored

Matrix = NDArray[np.float64]


class Fitting:
    """Fits an estimator on the training rows, then on the training and the validation rows.

    Args:
        build: returns an unfitted estimator.
        matrix, target: the training rows, and after them the validation rows.
        n_training: how many of them are training rows.
        groups: which rows belong together, int64 (n,), those of training rows numbered from 0; or None.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        matrix: NDArray[np.float64],
        target: NDArray[Any],
        n_training: int,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        self._build, self._matrix, self._target = build, matrix, target
        self._training, self._validation = slice(n_training), slice(n_training, None)
        self._groups = groups

    @property
    def validation(self) -> tuple[Matrix, NDArray[Any]]:
        """The validation rows and their targets."""
        return self._matrix[self._validation], self._target[self._validation]

    @property
    def target(self) -> NDArray[Any]:
        """The targets of all rows."""
        return self._target

    def first(self) -> Any:
        """Fit on the training rows, with validation rows and groups where the estimator's ``fit`` takes them.

        Raises:
            UnusableEstimator: it is no estimator.
        """
        estimator = self._build()
        if not callable(getattr(estimator, "fit", None)):
            raise UnusableEstimator(f"build_model must return an estimator, not {type(estimator).__name__}.")
        more: dict[str, Any] = {}
        if _takes_validation(estimator):
            more = {"X_val": self._matrix[self._validation], "y_val": self._target[self._validation]}
        if self._groups is not None and _takes(estimator, "groups"):
            more["groups"] = self._groups[self._training]
        return estimator.fit(self._matrix[self._training], self._target[self._training], **more)

    def final(self, first: Any) -> tuple[Any, dict[str, int]]:
        """Return the estimator to deliver, and how many rows of which split it was fitted on.

        Args:
            first: what `first` returned; it may be changed.
        """
        n_training = len(self._target[self._training])
        both = {"train": n_training, "validation": len(self._target) - n_training}
        if not is_refitted(first):
            print("fitted on the training rows alone: the estimator has no fit_final(X, y)", flush=True)
            return first, {"train": n_training}
        return self._refitted(first, slice(None)), both

    def out_of_fold(
        self, first: Any, folds: int, seed: int
    ) -> Iterator[tuple[Any, Matrix, NDArray[np.intp]]]:
        """Yield estimators fitted like the one to deliver, but for a fold; the fold's rows; and their places.

        Folds are of whole groups, or have their share of each class. One is left out where the others lack a
        class.

        Args:
            first: what `first` returned, which `is_refitted`; it is not changed.
            folds: how many; fewer where the rarest class has fewer rows.
            seed: of the rows' order.
        """
        random = np.random.default_rng(seed)
        classes, counts = np.unique(self._target, return_counts=True)
        folds = min(folds, int(counts.min()))
        fold = np.empty(len(self._target), dtype=np.int64)
        if self._groups is not None:
            fold = (random.permutation(self._groups.max() + 1) % folds)[self._groups]
        else:
            shuffled = random.permutation(len(fold))
            shuffled = shuffled[np.argsort(self._target[shuffled], kind="stable")]
            fold[shuffled] = np.arange(len(fold)) % folds
        for held_out in range(folds):
            rows, others = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
            if len(rows) and len(np.unique(self._target[others])) == len(classes):
                yield self._refitted(first, others, keep=True), self._matrix[rows], rows

    def _refitted(self, first: Any, rows: slice | NDArray[np.intp], *, keep: bool = False) -> Any:
        if callable(getattr(first, "fit_final", None)):
            return (copy.deepcopy(first) if keep else first).fit_final(self._matrix[rows], self._target[rows])
        return self._build().fit(self._matrix[rows], self._target[rows])


def is_refitted(first: Any) -> bool:
    """Whether the delivered estimator is fitted on the validation rows too, so that it isn't this one."""
    return callable(getattr(first, "fit_final", None)) or not _takes_validation(first)


def validated(
    estimator: Any, contract: Contract, matrix: NDArray[np.float64], target: NDArray[Any]
) -> dict[str, float]:
    """Return every metric of rows that the estimator was not fitted on, printed for SageMaker to find."""
    scores = inference.predictor_of(estimator, contract)(matrix)
    measured = {
        name: float(value) for name, (value,) in Scored.of(contract, target, scores).measure().items()
    }
    for name, value in measured.items():
        print(metric_line(name, value), flush=True)
    return measured


def _takes_validation(estimator: Any) -> bool:
    return _takes(estimator, "X_val", "y_val")


def _takes(estimator: Any, *names: str) -> bool:
    return set(names) <= inspect.signature(estimator.fit).parameters.keys()
