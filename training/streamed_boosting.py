"""Fits scikit-learn's histogram boosting on bins, one byte a value, that are made piece by piece.

scikit-learn bins a float64 matrix itself, so that matrix, its copy with categories first, and the bins are in
memory together. Here the bins are made of pieces of the table, by scikit-learn's own mapper and of the sample
that it would have drawn, and its own growers grow the trees on them. The result is the same estimator, bit
for bit, but for ``train_score_``, which is empty.

It calls private parts of scikit-learn 1.9 (``sklearn/ensemble/_hist_gradient_boosting``), on which the
compiled form rests already; a test holds both ways together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
from sklearn.ensemble._hist_gradient_boosting.common import G_H_DTYPE
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import (
    BaseHistGradientBoosting,
    _update_raw_predictions,
)
from sklearn.ensemble._hist_gradient_boosting.grower import TreeGrower
from sklearn.utils import check_random_state
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

Matrix = NDArray[np.float64]

DERIVED_ROWS = 1 << 18
"""Rows whose targets are float64 at once."""

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
    """scikit-learn's boosting, whose loop is run here, on rows that are read in pieces.

    Its own holds the targets as float64, and what a tree was grown with until the next one has as much: 20 of
    the 62 bytes that a row takes.
    """

    def fit_batches(
        self,
        rows: Columns,
        target: NDArray[Any],
        X_val: Matrix | None = None,
        y_val: NDArray[Any] | None = None,
    ) -> None:
        """Do what scikit-learn's ``fit`` does where there are no weights and no constraints."""
        self._validate_params()
        _, known_categories = self._preprocess_X(rows.prototype(), reset=True)
        codes = self._codes_of(target)
        random = check_random_state(self.random_state)
        self._random_seed, seed = (random.randint(np.iinfo(np.uint32).max, dtype="u8") for _ in range(2))
        self._feature_subsample_rng = np.random.default_rng(seed)
        self._n_features = rows.shape[1]
        self._loss = self._get_loss(sample_weight=None)
        self.do_early_stopping_, self._use_validation_data = y_val is not None, True
        self._bin_mapper = _BinMapper(
            n_bins=self.max_bins + 1,
            is_categorical=self._is_categorical_remapped,
            known_categories=known_categories,
            random_state=self._random_seed,
            n_threads=_openmp_effective_n_threads(),
        )
        bins = self._binned(rows)
        encoded = target if codes is None else codes[target]
        self._baseline_prediction = self._loss.fit_intercept_only(y_true=encoded).reshape((1, -1))
        del encoded
        self._predictors: list[list[Any]] = []
        self._scorer = None
        self.train_score_ = np.empty(0)
        stopping = None
        if X_val is not None and y_val is not None:
            binned = self._bin_mapper.transform(self._preprocess_X(X_val, reset=False))
            stopping = np.ascontiguousarray(binned), y_val if codes is None else codes[y_val]
        self.validation_score_ = np.asarray(self._boosted(bins, target, codes, stopping))

    def _codes_of(self, target: NDArray[Any]) -> Matrix | None:
        """Note what the targets are; return what each class code is encoded as, None of a number."""
        self._encode_y(target)
        return None

    def _binned(self, rows: Columns) -> NDArray[np.uint8]:
        mapper = self._bin_mapper
        if len(rows) > mapper.subsample:
            random = check_random_state(mapper.random_state)
            sampled = random.choice(len(rows), mapper.subsample, replace=True)
        else:
            sampled = np.arange(len(rows))
        mapper.fit(self._prepared(rows.take(sampled)))
        bins = np.empty(rows.shape, dtype=np.uint8, order="F")
        start = 0
        for batch in rows.batches():
            if len(batch):
                bins[start : start + len(batch)] = mapper.transform(self._prepared(batch))
                start += len(batch)
        return bins

    def _prepared(self, matrix: Matrix) -> Matrix:
        return matrix if self._preprocessor is None else self._preprocessor.transform(matrix)

    def _boosted(
        self,
        bins: NDArray[np.uint8],
        target: NDArray[Any],
        codes: Matrix | None,
        stopping: tuple[NDArray[np.uint8], Matrix] | None,
    ) -> list[float]:
        """Grow the trees; return the scores of the rows that stop it, before the first and after each."""
        n_threads, missing_bin = _openmp_effective_n_threads(), self._bin_mapper.missing_values_bin_idx_
        raw = np.empty((len(bins), self.n_trees_per_iteration_), order="F")
        raw[:] = self._baseline_prediction
        gradient, hessian = self._loss.init_gradient_and_hessian(len(bins), dtype=G_H_DTYPE, order="F")
        has_missing = np.array([(column == missing_bin).any() for column in bins.T], dtype=np.uint8)
        scores: list[float] = []
        if stopping is not None:
            stopping_bins, stopping_target = stopping
            stopping_raw = np.empty((len(stopping_bins), raw.shape[1]), order="F")
            stopping_raw[:] = self._baseline_prediction
            scores.append(-self._loss(stopping_target, stopping_raw, n_threads=n_threads))
        for _ in range(self.max_iter):
            for start in range(0, len(bins), DERIVED_ROWS):
                part = slice(start, start + DERIVED_ROWS)
                given: dict[str, Any] = {
                    "y_true": target[part] if codes is None else codes[target[part]],
                    "raw_prediction": raw[part],
                    "gradient_out": gradient[part],
                    "n_threads": n_threads,
                }
                if self._loss.constant_hessian:
                    self._loss.gradient(**given)
                else:
                    self._loss.gradient_hessian(**given, hessian_out=hessian[part])
            derivatives = zip(_columns(gradient), _columns(hessian), raw.T, strict=True)
            self._predictors.append([self._tree(bins, has_missing, *each) for each in derivatives])
            if stopping is None:
                continue
            for place, tree in enumerate(self._predictors[-1]):
                stopping_raw[:, place] += tree.predict_binned(stopping_bins, missing_bin, n_threads)
            scores.append(-self._loss(stopping_target, stopping_raw, n_threads=n_threads))
            if self._should_stop(scores):
                break
        return scores

    def _tree(
        self,
        bins: NDArray[np.uint8],
        has_missing: NDArray[np.uint8],
        gradient: NDArray[np.float32],
        hessian: NDArray[np.float32],
        raw: Matrix,
    ) -> Any:
        """Grow a tree, and add what it says of each row to `raw`."""
        n_threads = _openmp_effective_n_threads()
        grower = _Grower(
            X_binned=bins,
            gradients=gradient,
            hessians=hessian,
            n_bins=self.max_bins + 1,
            n_bins_non_missing=self._bin_mapper.n_bins_non_missing_,
            has_missing_values=has_missing,
            is_categorical=self._is_categorical_remapped,
            max_leaf_nodes=self.max_leaf_nodes,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            l2_regularization=self.l2_regularization,
            feature_fraction_per_split=self.max_features,
            rng=self._feature_subsample_rng,
            shrinkage=self.learning_rate,
            n_threads=n_threads,
        )
        grower.grow()
        _update_raw_predictions(raw, grower, n_threads)
        return grower.make_predictor(binning_thresholds=self._bin_mapper.bin_thresholds_)


class _Grower(TreeGrower):
    """scikit-learn's, with room to order the derivatives of half the rows instead of all: of two children it
    looks through the smaller one, and subtracts for the other."""

    def _initialize_root(self) -> None:
        super()._initialize_root()
        builder = self.histogram_builder
        half = np.empty(len(self.X_binned) // 2, dtype=G_H_DTYPE)
        builder.ordered_gradients = half
        if not builder.hessians_are_constant:
            builder.ordered_hessians = np.empty_like(half)


def _columns(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a row per tree of a round."""
    return values[np.newaxis] if values.ndim == 1 else values.T


class _Regressor(_OnBatches, HistGradientBoostingRegressor):
    pass


class _Classifier(_OnBatches, HistGradientBoostingClassifier):
    def _codes_of(self, target: NDArray[np.integer[Any]]) -> Matrix:
        # scikit-learn's way sorts all labels, for which it holds several copies of them.
        known = np.flatnonzero(np.bincount(target))
        codes = np.zeros(known[-1] + 1)
        codes[known] = self._encode_y(known)
        return codes


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
    fitting.fit_batches(rows, target, **stopping_rows)
    estimator.__dict__.update(vars(fitting))
