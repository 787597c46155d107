"""Fits what `build_model` returns: on the training rows first, then on the validation rows too."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
from dropforge.domain.contract import Contract
from dropforge.domain.errors import NotDistributed, UnusableEstimator
from dropforge.domain.metric_registry import metric_line
from dropforge.domain.metrics import Scored
from peers import Peers
from raw_columns import rows_of

STREAMED_ROWS = 100_000
"""Rows up to which the matrix is made, which is quicker than reading it in pieces."""

STOPPING_ROWS, STOPPING_ROWS_OF_A_CLASS = 100_000, 1_000
"""Validation rows of a large table that stop boosting and are measured. More would tell them little more."""

SECOND_FIT = 0.05
"""Share of the rows from which on it is worth as much time again to fit them too."""

Matrix = NDArray[np.float64]


class Fitting:
    """Fits an estimator on the training rows, then on the training and the validation rows.

    Where a table is large and read in pieces, the first fit takes the validation rows beyond STOPPING_ROWS as
    well, and the second is left out if it would add less than SECOND_FIT.

    Args:
        build: returns an unfitted estimator.
        rows, target: the training rows, then the validation rows; a `splits.Rows`, a matrix, or a
            DataFrame of the columns themselves.
        n_training: how many of them are training rows.
        groups: which rows belong together, int64 (n,), those of training rows numbered from 0; or None.
        order: numbers in no order of the validation rows, by which those are chosen that stop; None where
            all have to, since rows were not split one by one.
        peers: the job's hosts. Of several, each has training rows of its own and all validation rows: those
            that stop are the same everywhere, and of the others each host fits its share.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        rows: Any,
        target: NDArray[Any],
        n_training: int,
        groups: NDArray[np.int64] | None = None,
        order: NDArray[np.uint64] | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._build, self._n_training, self._groups = build, n_training, groups
        self._n_validation, self._unfitted = len(rows) - n_training, build()
        streams = hasattr(rows, "batches") and getattr(self._unfitted, "streams", False)
        self._streamed = streams and (peers is not None or len(rows) > STREAMED_ROWS)
        self._peers, self._own = peers, None
        if peers is not None:
            self._n_training = sum(peers.rows)
            mine, count = peers.share
            dealt = np.arange(self._n_validation) % count == mine
            self._own = np.concatenate([np.ones(n_training, dtype=bool), dealt])
        self._table: Any = rows
        self._target = target
        fitted: Any = slice(n_training)
        stopping: Any = slice(n_training, None)
        if self._streamed:
            watched = _watched(target[n_training:], order)
            stopping = np.concatenate([np.zeros(n_training, dtype=bool), watched])
            fitted = ~stopping if self._own is None else ~stopping & self._own
            self._fitted_rows, self._stopping_rows = rows.only(fitted), np.asarray(rows.only(stopping))
        else:
            if target.dtype.kind != "f":
                self._target = target.astype(np.int64)
            self._table = rows if hasattr(rows, "iloc") else np.asarray(rows)
            self._fitted_rows, self._stopping_rows = (
                rows_of(self._table, fitted),
                rows_of(self._table, stopping),
            )
        self._fitted = fitted
        self._fitted_target, self._stopping_target = self._target[fitted], self._target[stopping]

    @property
    def validation(self) -> tuple[Matrix, NDArray[Any]]:
        """The validation rows that stop the first fit, and their targets."""
        return self._stopping_rows, self._stopping_target

    @property
    def target(self) -> NDArray[Any]:
        """The targets of all rows."""
        return self._target

    def first(self) -> Any:
        """Fit on the training rows, with validation rows and groups where the estimator's ``fit`` takes them.

        Raises:
            NotDistributed: it trains on one instance, and there are several.
            UnusableEstimator: it is no estimator.
        """
        estimator = self._unfitted
        if not callable(getattr(estimator, "fit", None)):
            raise UnusableEstimator(f"build_model must return an estimator, not {type(estimator).__name__}.")
        more = self._with_peers(estimator.fit)
        if takes_validation(estimator):
            more |= {"X_val": self._stopping_rows, "y_val": self._stopping_target}
        if self._groups is not None and takes(estimator, "groups"):
            more["groups"] = self._groups[self._fitted]
        return estimator.fit(self._fitted_rows, self._fitted_target, **more)

    def validated(self, estimator: Any, contract: Contract) -> dict[str, float]:
        """Return every metric of the validation rows, printed for SageMaker to find.

        Args:
            estimator: what `first` returned, which was not fitted on them.
        """
        scores = inference.predictor_of(estimator, contract)(self._stopping_rows)
        scored = Scored.of(contract, self._stopping_target, scores)
        measured = {name: float(value) for name, (value,) in scored.measure().items()}
        for name, value in measured.items():
            print(metric_line(name, value), flush=True)
        return measured

    def final(self, first: Any) -> tuple[Any, dict[str, int]]:
        """Return the estimator to deliver, and how many rows of which split it was fitted on.

        Args:
            first: what `first` returned; it may be changed.
        """
        both = {"train": self._n_training, "validation": self._n_validation}
        left_out = len(self._stopping_target)
        if not self._adds_enough:
            return first, {**both, "validation": self._n_validation - left_out}
        if not self.is_refitted(first):
            print("fitted on the training rows alone: the estimator has no fit_final(X, y)", flush=True)
            return first, {"train": self._n_training}
        return self._refitted(first), both

    def is_refitted(self, first: Any) -> bool:
        """Whether the delivered estimator is fitted on the validation rows too, so that it isn't this one."""
        can_be = callable(getattr(first, "fit_final", None)) or not takes_validation(first)
        return can_be and self._adds_enough

    @property
    def _adds_enough(self) -> bool:
        rows = self._n_training + self._n_validation
        return not self._streamed or len(self._stopping_target) >= SECOND_FIT * rows

    @property
    def has_folds(self) -> bool:
        """Whether `out_of_fold` can be asked: one instance has all rows."""
        return self._peers is None

    def _with_peers(self, fit: Callable[..., Any]) -> dict[str, Any]:
        """Return the argument `peers`, where there are any."""
        if self._peers is None:
            return {}
        require_peers(self._unfitted, fit)
        return {"peers": self._peers}

    def out_of_fold(
        self, first: Any, folds: int, seed: int
    ) -> Iterator[tuple[Any, Iterable[Matrix], NDArray[np.intp]]]:
        """Yield estimators fitted like the one to deliver, but for a fold; the fold's rows; and their places.

        Folds are of whole groups, or have their share of each class. One is left out where the others lack a
        class. Its rows come in pieces.

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
            others = fold != held_out
            if not others.all() and len(np.unique(self._target[others])) == len(classes):
                rows = (
                    self._table.only(~others).batches() if self._streamed else [rows_of(self._table, ~others)]
                )
                yield self._refitted(first, others), rows, np.flatnonzero(~others)

    def _refitted(self, first: Any, kept: NDArray[np.bool_] | None = None) -> Any:
        """Fit like the one to deliver: on all rows, in place where it can be, or on some rows."""
        table, target = self._table, self._target
        if self._own is not None:
            table, target = table.only(self._own), target[self._own]
        if kept is not None:
            table, target = table.only(kept) if self._streamed else rows_of(table, kept), target[kept]
        if callable(getattr(first, "fit_final", None)):
            again = first if kept is None else copy.deepcopy(first)
            return again.fit_final(table, target, **self._with_peers(again.fit_final))
        fresh = self._build()
        return fresh.fit(table, target, **self._with_peers(fresh.fit))


def _watched(target: NDArray[Any], order: NDArray[np.uint64] | None) -> NDArray[np.bool_]:
    """Return which validation rows stop boosting: all, or the first in order until there are enough."""
    if order is None or len(target) <= STOPPING_ROWS:
        return np.ones(len(target), dtype=bool)
    ranked = np.argsort(order, kind="stable")
    enough = STOPPING_ROWS
    if target.dtype.kind != "f":
        for code in np.flatnonzero(np.bincount(target)).tolist():
            places = np.flatnonzero(target[ranked] == code)
            last = places[STOPPING_ROWS_OF_A_CLASS - 1 : STOPPING_ROWS_OF_A_CLASS]
            enough = max(enough, int(last[0]) + 1 if len(last) else len(target))
    watched = np.zeros(len(target), dtype=bool)
    watched[ranked[:enough]] = True
    return watched


def require_peers(estimator: Any, fit: Callable[..., Any]) -> None:
    """Refuse an estimator that several instances can't train. Raises NotDistributed."""
    if not getattr(estimator, "streams", False) or "peers" not in inspect.signature(fit).parameters:
        raise NotDistributed(
            f"{type(estimator).__name__} trains on one instance: it doesn't say `streams`, or its "
            f"{fit.__name__} takes no `peers`. See model.py, or set TrainingInstanceCount to 1."
        )


def takes_validation(estimator: Any) -> bool:
    return takes(estimator, "X_val", "y_val")


def takes(estimator: Any, *names: str) -> bool:
    return set(names) <= inspect.signature(estimator.fit).parameters.keys()
