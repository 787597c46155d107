"""Fits what `build_model` returns: on the training rows first, then on the validation rows too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
from dropforge.domain.contract import Contract
from dropforge.domain.errors import UnusableEstimator
from dropforge.domain.metric_registry import metric_line
from dropforge.domain.metrics import Scored


class Fitting:
    """Fits an estimator on the training rows, then on the training and the validation rows.

    Args:
        build: returns an unfitted estimator.
        matrix, target: the training rows, and after them the validation rows.
        n_training: how many of them are training rows.
        groups: which training rows belong together, int64 (n_training,); None where none do.
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
            more["groups"] = self._groups
        return estimator.fit(self._matrix[self._training], self._target[self._training], **more)

    def final(self, first: Any) -> tuple[Any, dict[str, int]]:
        """Return the estimator to deliver, and how many rows of which split it was fitted on.

        Args:
            first: what `first` returned; it may be changed.
        """
        n_training = len(self._target[self._training])
        both = {"train": n_training, "validation": len(self._target) - n_training}
        if callable(getattr(first, "fit_final", None)):
            return first.fit_final(self._matrix, self._target), both
        if _takes_validation(first):
            print("fitted on the training rows alone: the estimator has no fit_final(X, y)", flush=True)
            return first, {"train": n_training}
        return self._build().fit(self._matrix, self._target), both


def validated(
    estimator: Any, contract: Contract, matrix: NDArray[np.float64], target: NDArray[Any]
) -> dict[str, float]:
    """Return every metric of rows that the estimator was not fitted on, printed for SageMaker to find."""
    scores = inference.predictor_of(estimator, contract)(matrix)
    measured = {
        name: float(value) for name, (value,) in Scored(contract.task, target, scores).measure().items()
    }
    for name, value in measured.items():
        print(metric_line(name, value), flush=True)
    return measured


def _takes_validation(estimator: Any) -> bool:
    return _takes(estimator, "X_val", "y_val")


def _takes(estimator: Any, *names: str) -> bool:
    return set(names) <= inspect.signature(estimator.fit).parameters.keys()
