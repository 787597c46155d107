"""Fits scikit-learn's histogram boosting on bins, one byte a value, that are made piece by piece.

scikit-learn bins a float64 matrix itself, so that matrix, its copy with categories first, and the bins are in
memory together. Here the bins are made of pieces of the table, by scikit-learn's own mapper and of the sample
that it would have drawn; the rest of the fit is its own. The result is the same estimator, bit for bit, but
for ``train_score_``, which is empty.

It overrides four private steps of scikit-learn 1.9 (``sklearn/ensemble/_hist_gradient_boosting``), on which
the compiled form rests already; a test holds both ways together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.utils import check_random_state

Matrix = NDArray[np.float64]

CODES = 256
"""Category codes lie below: scikit-learn's limit."""


class Batches(Protocol):
    """A float64 matrix (n, n_columns) that is read in pieces."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Matrix]: ...

    def take(self, rows: NDArray[np.intp]) -> Matrix: ...


class Columns:
    """Some columns of a table that is read in pieces, and their categories, as `surveyed` finds them."""

    def __init__(self, rows: Batches, columns: NDArray[np.intp], categories: Mapping[int, Matrix]) -> None:
        self._rows, self._columns, self._categories = rows, columns, categories
        self.shape = (len(rows), len(columns))

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self) -> Iterator[Matrix]:
        for batch in self._rows.batches():
            yield batch[:, self._columns]

    def take(self, rows: NDArray[np.intp]) -> Matrix:
        return self._rows.take(rows)[:, self._columns]

    def prototype(self) -> Matrix:
        """Return the fewest rows that hold every category of every column, and the missing value if any."""
        height = max((len(each) for each in self._categories.values()), default=1)
        matrix = np.zeros((height, self.shape[1]))
        for place, column in enumerate(self._columns.tolist()):
            if column in self._categories:
                matrix[:, place] = np.resize(self._categories[column], height)
        return matrix


class _OnBatches(BaseHistGradientBoosting):
    """The steps at which scikit-learn's boosting touches the training rows, done on pieces of them."""

    def _preprocess_X(self, X: Any, *, reset: bool) -> Any:  # noqa: N802 - scikit-learn's name
        if not reset:
            return super()._preprocess_X(X, reset=False)
        _, known_categories = super()._preprocess_X(X.prototype(), reset=True)
        return X, known_categories

    def _bin_data(self, X: Any, sample_weight: None, is_training_data: bool) -> NDArray[np.uint8]:
        if not is_training_data:
            return super()._bin_data(X, sample_weight, False)
        mapper = self._bin_mapper
        if len(X) > mapper.subsample:
            random = check_random_state(mapper.random_state)
            rows = random.choice(len(X), mapper.subsample, replace=True)
        else:
            rows = np.arange(len(X))
        mapper.fit(self._prepared(X.take(rows)))
        bins = np.empty(X.shape, dtype=np.uint8, order="F")
        start = 0
        for batch in X.batches():
            if len(batch):
                bins[start : start + len(batch)] = mapper.transform(self._prepared(batch))
                start += len(batch)
        return bins

    def _check_early_stopping_loss(self, *, raw_predictions: Matrix, y_train: Matrix, **given: Any) -> bool:
        # The loss of the training rows decides nothing and takes 8 bytes a row: that of one stands for it.
        return super()._check_early_stopping_loss(
            raw_predictions=raw_predictions[:1], y_train=y_train[:1], **given
        )

    def _prepared(self, matrix: Matrix) -> Matrix:
        return matrix if self._preprocessor is None else self._preprocessor.transform(matrix)


class _Regressor(_OnBatches, HistGradientBoostingRegressor):
    pass


class _Classifier(_OnBatches, HistGradientBoostingClassifier):
    def _encode_y(self, y: NDArray[np.integer[Any]]) -> Matrix:
        # scikit-learn's way sorts all labels, for which it holds several copies of them.
        known = np.flatnonzero(np.bincount(y))
        table = np.zeros(known[-1] + 1)
        table[known] = super()._encode_y(known)
        return table[y]


_ON_BATCHES = {
    HistGradientBoostingClassifier: _Classifier,
    HistGradientBoostingRegressor: _Regressor,
}


def surveyed(rows: Batches, categorical: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], dict[int, Matrix]]:
    """Return which columns have no value in any row, and the codes in the categorical ones, NaN last."""
    missing, present = np.zeros(rows.shape[1], dtype=bool), np.zeros(rows.shape[1], dtype=bool)
    seen = {int(column): np.zeros(CODES, dtype=bool) for column in np.flatnonzero(categorical)}
    for batch in rows.batches():
        gaps = np.isnan(batch)
        missing |= gaps.any(axis=0)
        present |= ~gaps.all(axis=0)
        for column, codes in seen.items():
            codes[batch[~gaps[:, column], column].astype(np.intp)] = True
    categories = {
        column: np.append(np.flatnonzero(codes).astype(np.float64), [np.nan] * int(missing[column]))
        for column, codes in seen.items()
    }
    return ~present, categories


def fit(estimator: Any, rows: Columns, target: NDArray[Any], **stopping_rows: Any) -> None:
    """Fit a HistGradientBoostingClassifier or -Regressor as its ``fit`` would on the matrix of those rows.

    Args:
        target: float64 values, or codes of classes: (n,).
        stopping_rows: X_val and y_val, of the same columns.
    """
    fitting = _ON_BATCHES[type(estimator)](**estimator.get_params(deep=False))
    fitting.fit(rows, target, **stopping_rows)
    fitting.train_score_ = np.empty(0)
    estimator.__dict__.update(vars(fitting))
