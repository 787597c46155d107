"""The model. This is the one file to change for a model of your own.

`build_model` gets the contract and the hyperparameters and returns an unfitted scikit-learn estimator. It is
fitted on the float64 matrix that `dropforge.domain.encoding` describes (`matrix_columns(schema)` lists its
columns) and on class codes 0, 1, … or float values. With ``INPUT = "columns"`` in this file it gets a pandas
DataFrame of the contract's columns instead (`raw_columns.py`). A classifier needs ``predict_proba``. Whatever
it is made of must be defined here or be installed in the image, since serving unpickles it with this file
beside it.

The estimator is fitted on the training rows and measured on the validation rows; then one that `build_model`
returns anew is fitted on both, and that is the model. If its ``fit`` takes ``X_val`` and ``y_val``, it gets
the validation rows there, to stop early or to choose by, and is then asked by ``fit_final(X, y)`` to fit on
both with what it has found. Without that method it stays as it is. Hold-out rows are never fitted. If its
``fit`` takes ``groups``, it gets the group of each training row, numbered from 0, where GroupColumn is set.

An estimator that says ``streams = True`` gets a large table's training rows as an object that reads them in
pieces instead of the matrix, so that memory doesn't grow by 8 bytes a value: `splits.Rows` has ``shape``,
``batches()`` and ``take(rows)``. The default estimators do.

With TrainingInstanceCount above 1 each instance gets some of the training rows, as such an object. An
estimator whose ``fit``, and ``fit_final``, take ``peers`` trains on all of them together: `peers.Peers` is
how the instances speak to each other, and each has to end with the same model. The default estimators boost
by LightGBM then.

Serving is an order of magnitude faster where the estimator has a compiled form (`compiling.py` says which
do): optional, and checked against the estimator itself before it is used.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from dropforge.domain.compiled import Compiled
from dropforge.domain.contract import Contract
from dropforge.domain.encoding import MatrixColumn, is_learned, matrix_columns
from dropforge.domain.errors import InvalidHyperparameters
from dropforge.domain.hyperparameters import problems_of
from dropforge.domain.linear_form import LinearForm
from dropforge.domain.metric_registry import metric_named
from dropforge.domain.metrics import Scored

Matrix = NDArray[np.float64]
Table = Any
"""A `Matrix`, or what reads one in pieces (see above)."""
Validation = tuple[Matrix, NDArray[Any]]
Groups = NDArray[Any] | None
Candidate = tuple[str, float | None]
"""What competes: linear, boosted or WITHOUT_TEXTS, and the linear model's strength."""

WITHOUT_TEXTS = "boosted without texts"
"""Boosting that doesn't see what was learned of texts: where there are any, they have to earn their place."""

C_GRID = (0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of the logistic regression's L2 penalty, on standardised columns."""

ALPHA_GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Strengths of the ridge regression's penalty, on standardised columns."""

LOSS = {"binary": "log_loss", "multiclass": "log_loss", "regression": "mse"}
"""What decides between strengths of the linear model that are equally good: a proper score. A ranking
metric such as AUC is blind to probabilities that too strong a penalty has pushed to one side."""

FOLDS = 5
"""Folds of the selection: with 5, each fit has 80 % of the rows, at half the cost of 10."""

SINGLE_THREADED_CELLS = 200_000
"""Values up to which boosting uses one thread: below it, threads wait for each other longer than they work,
several times so on a machine that is busy otherwise."""

STOPPING_FOLDS = 7
"""Boosting without a validation split stops early on one in so many of its own rows."""

SELECTION_ROWS = 50_000
"""Rows that estimators are compared on; the chosen one is then fitted on all."""

ONE_HOT_CATEGORIES = 30
"""Most frequent categories per column that get an indicator of their own in the linear model."""

LARGEST = 1e150
"""Magnitude at which the linear model cuts its input, so that squares of it stay finite."""

HYPERPARAMETERS = {
    "estimator": ("auto", "linear", "boosted"),
    "learning_rate": (1e-4, 1.0),
    "max_iter": (1, 10_000),
    "max_leaf_nodes": (2, 4096),
    "min_samples_leaf": (1, 1_000_000),
    "l2_regularization": (0.0, 1e9),
    "C": (1e-9, 1e9),
    "alpha": (1e-9, 1e12),
}
"""What may be set, by the parameter Hyperparameters or by ``dropforge runs start --set``: numbers from … to …
(whole ones where both bounds are), or one of the texts. What is not in here is refused before a job starts.
This table is read without being run, so it is written out; without it any name goes to `build_model`."""


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> BaseEstimator:
    """Return the better of a regularised linear model and gradient boosting, unfitted.

    Args:
        schema: the contract of the data.
        hyperparameters: ``metric`` (a name), ``seed`` (int), and optionally those of HYPERPARAMETERS. ``C``
            is the linear model's strength in a classification, ``alpha`` in a regression; without it, it is
            chosen from a grid.

    Raises:
        InvalidHyperparameters: one is unknown or out of its bounds.
    """
    chosen = dict(hyperparameters)
    metric, seed = chosen.pop("metric", "auto"), chosen.pop("seed", 0)
    strength, other = ("alpha", "C") if schema.task == "regression" else ("C", "alpha")
    problems = problems_of(chosen, {n: allowed for n, allowed in HYPERPARAMETERS.items() if n != other})
    if problems:
        raise InvalidHyperparameters(f"hyperparameters: {'; '.join(problems)}.")
    kind = chosen.pop("estimator", "auto")
    # A whole number may come as 300.0, or a bound's as 1.
    chosen = {name: type(HYPERPARAMETERS[name][0])(value) for name, value in chosen.items()}
    build = BestRegressor if schema.task == "regression" else BestClassifier
    return build(
        task=schema.task,
        categorical=tuple(_is_categorical(schema, column) for column in matrix_columns(schema)),
        metric=metric_named(schema.task, metric).name,
        positive=1 if schema.positive_code is None else schema.positive_code,
        seed=seed,
        estimator=kind,
        strength=chosen.pop(strength, None),
        boosting=chosen,
    )


def search_space(schema: Contract, hyperparameters: Mapping[str, Any]) -> Mapping[str, tuple[Any, ...]]:
    """Return where `TuningTrials` searches: boosting, or the linear model's strength where that is set.

    Args:
        hyperparameters: what is set by hand, which is not searched.
    """
    if hyperparameters.get("estimator") == "linear":
        return {"alpha": (1e-2, 1e5, "log")} if schema.task == "regression" else {"C": (1e-4, 1e3, "log")}
    return {
        "estimator": ("boosted",),
        "learning_rate": (0.01, 0.3, "log"),
        "max_leaf_nodes": (4, 128, "log"),
        "min_samples_leaf": (2, 200, "log"),
        "l2_regularization": (1e-3, 100.0, "log"),
    }


def _is_categorical(schema: Contract, column: MatrixColumn) -> bool | None:
    """Whether a column holds codes; None of a number that was learned of a text."""
    if column.kind == "numeric" and is_learned(schema.column(column.source)):
        return None
    return column.kind == "categorical"


class Design:
    """The linear model's view of the matrix, learned from training rows.

    Numbers: missing ones become the median, with an indicator column where training rows lack any; then all
    are standardised. Categories: indicators of the ONE_HOT_CATEGORIES most frequent codes; a missing, rare
    or unseen category has none.
    """

    def __init__(self, categorical: tuple[bool | None, ...], matrix: Matrix) -> None:
        self.categorical = np.array(categorical, dtype=bool)
        numbers = np.clip(matrix[:, ~self.categorical], -LARGEST, LARGEST)
        missing = np.isnan(numbers)
        self.indicated = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))
        self.medians = np.zeros(numbers.shape[1])
        known = ~missing.all(axis=0)
        if known.any():
            self.medians[known] = np.nanmedian(numbers[:, known], axis=0)
        filled = np.where(missing, self.medians, numbers)
        self.means = filled.mean(axis=0)
        scales = filled.std(axis=0)
        # A constant column differs from its mean by rounding only: dividing by that would make noise of it.
        constant = scales <= 1e-12 * np.maximum(np.abs(self.means), np.finfo(np.float64).tiny)
        self.scales = np.where(constant, 1.0, scales)
        self.codes = [
            codes[codes < ONE_HOT_CATEGORIES]
            for codes in (np.unique(column[~np.isnan(column)]) for column in matrix[:, self.categorical].T)
        ]

    def __call__(self, matrix: Matrix) -> Matrix:
        numbers = np.clip(matrix[:, ~self.categorical], -LARGEST, LARGEST)
        missing = np.isnan(numbers)
        standard = (np.where(missing, self.medians, numbers) - self.means) / self.scales
        parts = [standard, missing[:, self.indicated].astype(np.float64)]
        parts += [
            (column[:, None] == codes).astype(np.float64)
            for column, codes in zip(matrix[:, self.categorical].T, self.codes, strict=True)
        ]
        return np.hstack(parts)


class Linear:
    """Ridge or L2-regularised logistic regression on a `Design`."""

    def __init__(self, task: str, design: Design, strength: float) -> None:
        self.design = design
        if task == "regression":
            self.estimator = Ridge(alpha=strength)
        else:
            self.estimator = LogisticRegression(C=strength, max_iter=1000)

    def fit(self, matrix: Matrix, target: NDArray[Any]) -> Self:
        self.estimator.fit(self.design(matrix), target)
        return self

    def refit(self, rows: Table, target: NDArray[Any]) -> Self:
        """Fit anew on rows that are read in pieces, of which it has seen a sample."""
        from streamed_linear import refit  # noqa: PLC0415 - is there in training, and not in the archive

        refit(self.estimator, rows, self.design, target)
        return self

    def predict(self, matrix: Matrix) -> Matrix:
        return self.estimator.predict(self.design(matrix))

    def predict_proba(self, matrix: Matrix) -> Matrix:
        return self.estimator.predict_proba(self.design(matrix))

    @property
    def classes_(self) -> NDArray[np.int64]:
        return self.estimator.classes_

    def compiled_form(self) -> Compiled:
        """Return the same model as plain arrays."""
        design, estimator = self.design, self.estimator
        weights = np.atleast_2d(estimator.coef_).T
        intercept = np.atleast_1d(np.asarray(estimator.intercept_, dtype=np.float64))
        numbers = np.flatnonzero(~design.categorical)
        sizes = [len(numbers), len(design.indicated), *map(len, design.codes)]
        of_numbers, of_gaps, *of_codes = np.split(weights, np.cumsum(sizes)[:-1])
        table = np.zeros((len(design.codes), ONE_HOT_CATEGORIES + 1, weights.shape[1]))
        for column, (codes, each) in enumerate(zip(design.codes, of_codes, strict=True)):
            table[column, codes.astype(np.int64)] = each
        form = LinearForm(
            numbers=numbers.astype(np.int64),
            largest=np.array(LARGEST),
            medians=design.medians,
            means=design.means,
            scales=design.scales,
            weights=of_numbers,
            indicated=design.indicated.astype(np.int64),
            indicator_weights=of_gaps,
            categorical=np.flatnonzero(design.categorical).astype(np.int64),
            category_weights=table,
            intercept=intercept,
        )
        if isinstance(estimator, Ridge):
            return Compiled(form, "identity")
        link = "logit" if len(estimator.classes_) == 2 else "multinomial"
        return Compiled(form, link, tuple(int(code) for code in estimator.classes_))


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # it looks through all loaded libraries, which takes a millisecond


@contextlib.contextmanager
def _on_a_matrix() -> Iterator[None]:
    """Fit with one BLAS thread, since sums over several round differently from machine to machine, and have
    scikit-learn do without pandas."""
    from unavailable import unavailable  # noqa: PLC0415 - is there in training, and not in the archive

    with _thread_pools().limit(limits=1, user_api="blas"), unavailable("pandas"):
        yield


def threads_for(matrix: Table) -> contextlib.AbstractContextManager[Any]:
    """Limit boosting (OpenMP) to one thread while it works on a small matrix; see SINGLE_THREADED_CELLS."""
    if matrix.shape[0] * matrix.shape[1] > SINGLE_THREADED_CELLS:
        return contextlib.nullcontext()
    return _thread_pools().limit(limits=1, user_api="openmp")


class Boosted:
    """Histogram gradient boosting on the columns that have a value in at least one training row."""

    def __init__(
        self,
        task: str,
        categorical: tuple[bool | None, ...],
        settings: Mapping[str, Any],
        with_texts: bool = True,
    ) -> None:
        self.task = task
        self.categorical = categorical
        self.settings = settings
        if not with_texts:
            self.left_out = np.array([each is None for each in categorical])

    def fit(self, matrix: Table, target: NDArray[Any], X_val: Matrix, y_val: NDArray[Any]) -> Self:
        """Fit; stops early on the validation rows, if there are any."""
        import streamed_boosting  # noqa: PLC0415 - is there in training, and not in the archive

        categorical = np.array(self.categorical, dtype=bool)
        whole = isinstance(matrix, np.ndarray)
        # Boosting can't bin a column without a single value (scikit-learn 1.9 raises ValueError).
        if whole:
            empty = np.isnan(matrix).all(axis=0)
        else:
            empty, categories = streamed_boosting.surveyed(matrix, categorical)
        # Only where texts are left out is there such a mask: other models are stored as they always were.
        self.columns = np.flatnonzero(~(empty | getattr(self, "left_out", np.False_)))
        stopping_rows = {"X_val": self._kept(X_val), "y_val": y_val} if len(y_val) else {}
        build = HistGradientBoostingRegressor if self.task == "regression" else HistGradientBoostingClassifier
        self.estimator = build(
            **self.settings,
            early_stopping=bool(stopping_rows),
            n_iter_no_change=15,
            categorical_features=categorical[self.columns] if categorical[self.columns].any() else None,
        )
        with threads_for(matrix):
            if whole or not len(self.columns):
                self.estimator.fit(self._kept(matrix), target, **stopping_rows)
            else:
                rows = streamed_boosting.Columns(matrix, self.columns, categories)
                streamed_boosting.fit(self.estimator, rows, target, **stopping_rows)
        return self

    def predict(self, matrix: Matrix) -> Matrix:
        with threads_for(matrix):
            return self.estimator.predict(self._kept(matrix))

    def predict_proba(self, matrix: Matrix) -> Matrix:
        with threads_for(matrix):
            return self.estimator.predict_proba(self._kept(matrix))

    @property
    def classes_(self) -> NDArray[np.int64]:
        return self.estimator.classes_

    def compiled_form(self) -> Compiled:
        """Return the same trees as bit masks. Raises NotCompilable where they would take too much memory."""
        from compiling import boosted_form  # noqa: PLC0415 - is there in training, and not in the archive

        return boosted_form(self.estimator, self.columns)

    def _kept(self, matrix: Table) -> Matrix:
        if len(self.columns) == matrix.shape[1]:
            return matrix
        return matrix[:, self.columns] if len(self.columns) else np.zeros((len(matrix), 1))


class BoostedTogether:
    """LightGBM's trees, grown by several instances; each has rows of its own and ends with the same trees."""

    def __init__(
        self, task: str, categorical: tuple[bool | None, ...], settings: Mapping[str, Any], n_classes: int
    ) -> None:
        self.task = task
        self.categorical = categorical
        self.settings = settings
        self.n_classes = n_classes
        self.n_outputs = n_classes if task == "multiclass" else 1

    def fit(self, rows: Table, target: NDArray[Any], stopping: Validation | None, peers: Any) -> Self:
        """Fit; stops early on the validation rows, if there are any, which are the same on each instance."""
        import distributed_boosting  # noqa: PLC0415 - is there in training, and not in the archive

        categorical = np.array(self.categorical, dtype=bool)
        more = self.n_classes, stopping, peers
        self.trees = distributed_boosting.fit(self.task, rows, target, categorical, self.settings, *more)
        self.rounds = self.trees.count("\nTree=") // self.n_outputs
        return self

    def predict(self, matrix: Matrix) -> Matrix:
        """Return float64 (n,), or (n, n_classes) of several classes."""
        import lightgbm  # noqa: PLC0415 - is there where it is carried

        with threads_for(matrix):
            return np.asarray(lightgbm.Booster(model_str=self.trees).predict(matrix))

    def predict_proba(self, matrix: Matrix) -> Matrix:
        found = self.predict(matrix)
        return found if self.task == "multiclass" else np.column_stack([1.0 - found, found])

    @property
    def classes_(self) -> NDArray[np.int64]:
        return np.arange(self.n_classes)

    def compiled_form(self) -> Compiled:
        """Return the same trees as bit masks. Raises NotCompilable where they would take too much memory."""
        from lightgbm_form import LightGbmTrees  # noqa: PLC0415 - is there in training, and not in the archive

        width = len(self.categorical)
        form = LightGbmTrees(self.trees, self.n_outputs, width).form(np.arange(width))
        if self.task == "regression":
            return Compiled(form, "identity")
        link = "logit" if self.task == "binary" else "multinomial"
        return Compiled(form, link, tuple(range(self.n_classes)))


class _Best(BaseEstimator):
    """Chooses by cross-validation on the training rows, then fits the chosen estimator on all of them.

    Rows of one group lie in one fold: a fold whose groups were fitted would prefer what learns them by heart.

    `fit_final` fits the chosen estimator anew on all rows that it is given, with as many rounds of boosting
    as early stopping had found.

    The metric decides between linear and boosted, equal ones going to the linear model. Of the linear model's
    strengths that are within one standard error of its best, the one of least loss is taken (see LOSS).
    Boosting stops early on the validation rows, or without them on one in STOPPING_FOLDS of its own rows.

    Attributes:
        selected_: ``linear``, ``boosted`` or WITHOUT_TEXTS.
        scores_: per estimator tried ``{"mean", "deviation", "folds"}`` of the metric and its mean ``"loss"``;
            empty where one estimator alone was asked for and nothing had to be chosen.
        parameters_: the chosen estimator's parameters.
        rounds_: rounds of boosting that early stopping found; None of the linear model.
        best_: the fitted estimator.
    """

    streams = True

    def __init__(
        self,
        *,
        task: str = "binary",
        categorical: tuple[bool | None, ...] = (),
        metric: str = "auc",
        positive: int = 1,
        seed: int = 0,
        estimator: str = "auto",
        strength: float | None = None,
        boosting: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.categorical = categorical
        self.metric = metric
        self.positive = positive
        self.seed = seed
        self.estimator = estimator
        self.strength = strength
        self.boosting = boosting

    def _fit(
        self, X: Table, y: NDArray[Any], validation: Validation | None, groups: Groups, peers: Any
    ) -> None:
        if peers is not None:
            self._fit_together(X, y, validation, peers)
            return
        with _on_a_matrix():
            self._select_and_fit(X, y, validation, groups)

    def _select_and_fit(
        self, X: Table, y: NDArray[Any], validation: Validation | None, groups: Groups
    ) -> None:
        rows = self._selection_rows(y)
        sample = X[rows] if isinstance(X, np.ndarray) else X.take(rows)
        scores = self._cross_validate(sample, y[rows], validation, None if groups is None else groups[rows])
        del sample
        self.scores_: dict[str, dict[str, Any]] = {
            name: {
                "mean": _mean([metric for metric, _ in folds]),
                "deviation": float(np.std([metric for metric, _ in folds])) if folds else float("nan"),
                "folds": [metric for metric, _ in folds],
                "loss": _mean([loss for _, loss in folds]),
            }
            for name, folds in scores.items()
        }
        candidates = self._candidates()
        chosen = self._choice(candidates) if self.scores_ else next(iter(candidates))
        self.selected_, strength = candidates[chosen]
        self.parameters_ = dict(self.boosting or {}) if strength is None else {"strength": strength}
        self.best_ = self._fit_one(candidates[chosen], X, y, validation)
        self.rounds_ = None if strength is not None else int(self.best_.estimator.n_iter_)
        self.n_features_in_ = X.shape[1]

    def _fit_together(
        self, X: Table, y: NDArray[Any], stopping: Validation | None, peers: Any, **settings: Any
    ) -> None:
        """Boost on all instances: nothing is chosen, since each alone has too few rows to compare on."""
        if self.estimator == "linear":
            raise InvalidHyperparameters(
                "estimator=linear trains on one instance; leave it out, or set TrainingInstanceCount to 1."
            )
        known = {"max_iter": 500, "learning_rate": 0.1, "random_state": self.seed, **(self.boosting or {})}
        n_classes = 0 if self.task == "regression" else len(self.classes_)
        self.selected_, self.scores_, self.parameters_ = "boosted (LightGBM)", {}, dict(self.boosting or {})
        self.best_ = BoostedTogether(self.task, self.categorical, {**known, **settings}, n_classes)
        self.best_.fit(X, y, stopping, peers)
        self.rounds_, self.n_features_in_ = self.best_.rounds, X.shape[1]

    def _fit_final(self, X: Table, y: NDArray[Any], peers: Any) -> None:
        if peers is not None:
            self._fit_together(X, y, None, peers, max_iter=self.rounds_)
            return
        with _on_a_matrix():
            if self.rounds_ is None:
                chosen = ("linear", self.parameters_["strength"])
                self.best_ = self._fit_one(chosen, X, y, None)
            else:
                boosted = self._boosted(self.selected_, max_iter=self.rounds_)
                self.best_ = boosted.fit(X, y, np.empty((0, X.shape[1])), y[:0])

    def compiled_form(self) -> Compiled:
        """Return the chosen estimator's compiled form; see `compiling.compiled_form`."""
        compiled: Compiled = self.best_.compiled_form()
        return compiled if self.task == "regression" else compiled.of_classes(self.classes_)

    def _choice(self, candidates: Mapping[str, Candidate]) -> str:
        direction = 1.0 if metric_named(self.task, self.metric).greater_is_better else -1.0

        def rank(score: float) -> float:
            # A number that is undefined on these rows never wins. Rounded, so that noise doesn't break ties.
            return round(score, 12) if np.isfinite(score) else -np.inf

        gains = {name: rank(direction * self.scores_[name]["mean"]) for name in candidates}
        best = max(candidates, key=gains.__getitem__)  # the first of equals
        if candidates[best][0] != "linear":
            return best
        error = self.scores_[best]["deviation"] / np.sqrt(max(len(self.scores_[best]["folds"]), 1))
        equal = [
            name
            for name, (kind, _) in candidates.items()
            if kind == "linear" and (name == best or gains[name] >= gains[best] - error)
        ]
        return max(equal, key=lambda name: rank(-self.scores_[name]["loss"]))

    def _candidates(self) -> dict[str, Candidate]:
        candidates: dict[str, Candidate] = {}
        if self.estimator != "boosted":
            label = "alpha" if self.task == "regression" else "C"
            grid = tuple(reversed(ALPHA_GRID)) if self.task == "regression" else C_GRID
            for strength in grid if self.strength is None else (self.strength,):
                candidates[f"linear ({label}={strength:g})"] = ("linear", strength)
        if self.estimator != "linear":
            if None in self.categorical:
                candidates[WITHOUT_TEXTS] = (WITHOUT_TEXTS, None)
            candidates["boosted"] = ("boosted", None)
        return candidates

    def _cross_validate(
        self, X: Matrix, y: NDArray[Any], validation: Validation | None, groups: Groups
    ) -> dict[str, list[tuple[float, float]]]:
        """Return (metric, loss) per fold and candidate."""
        candidates = self._candidates()
        if len(candidates) == 1:
            return {}
        scores: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
        for fitting, held_out in self._folds(y, FOLDS, groups):
            if not len(held_out) or len(np.unique(y[fitting])) < (1 if self.task == "regression" else 2):
                continue  # a class of a single row leaves nothing to learn where that row is held out
            design = Design(self.categorical, X[fitting])
            for name, candidate in candidates.items():
                model = self._fit_one(candidate, X[fitting], y[fitting], validation, design)
                target, found = y[held_out], self._scores(model, X[held_out])
                if self.task == "binary" and self.positive == 0:
                    target, found = 1 - target, found[:, ::-1]
                scored = Scored(self.task, target, found)
                scores[name].append((scored.value(self.metric), scored.value(LOSS[self.task])))
        return scores

    def _fit_one(
        self,
        candidate: Candidate,
        X: Table,
        y: NDArray[Any],
        validation: Validation | None,
        design: Design | None = None,
    ) -> Any:
        kind, strength = candidate
        if kind == "linear" and strength is not None and not isinstance(X, np.ndarray):
            rows = self._selection_rows(y)
            sample = X.take(rows)
            began = Linear(self.task, Design(self.categorical, sample), strength).fit(sample, y[rows])
            return began.refit(X, y)
        if kind == "linear" and strength is not None:
            return Linear(self.task, design or Design(self.categorical, X), strength).fit(X, y)
        if validation is None:
            fitting, stopping = next(self._folds(y, STOPPING_FOLDS))
            validation = X[stopping], y[stopping]
            X, y = X[fitting], y[fitting]
        X_val, y_val = validation
        if self.task != "regression":
            known = np.isin(y_val, y)  # boosting can't rate a class that it has no training row of
            X_val, y_val = _of(X_val, known), y_val[known]
        return self._boosted(kind).fit(X, y, X_val, y_val)

    def _boosted(self, kind: str, **settings: Any) -> Boosted:
        known = {"max_iter": 500, "random_state": self.seed, **(self.boosting or {})}
        return Boosted(self.task, self.categorical, {**known, **settings}, kind != WITHOUT_TEXTS)

    def _scores(self, model: Any, X: Matrix) -> Matrix:
        if self.task == "regression":
            return model.predict(X)
        probabilities = np.zeros((len(X), len(self.classes_)))
        probabilities[:, model.classes_] = model.predict_proba(X)
        return probabilities

    def _folds(
        self, y: NDArray[Any], n: int, groups: Groups = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield n (fitting rows, held-out rows) by the seed: whole groups, or stratified by class."""
        random = np.random.default_rng(self.seed)
        if groups is not None:
            _, group = np.unique(groups, return_inverse=True)
            fold = (random.permutation(group.max() + 1) % n)[group]
        else:
            shuffled = random.permutation(len(y))
            if self.task != "regression":
                shuffled = shuffled[np.argsort(y[shuffled], kind="stable")]
            fold = np.empty(len(y), dtype=np.int64)
            fold[shuffled] = np.arange(len(y)) % n
        for held_out in range(n):
            yield np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)

    def _selection_rows(self, y: NDArray[Any]) -> NDArray[np.intp]:
        """Return about SELECTION_ROWS rows by the seed, of each class its share, but at least one."""
        if len(y) <= SELECTION_ROWS:
            return np.arange(len(y))
        random = np.random.default_rng(self.seed)
        if self.task == "regression":
            return np.sort(random.choice(len(y), SELECTION_ROWS, replace=False, shuffle=False))
        chosen = []
        for code in range(int(y.max()) + 1):
            of_class = np.flatnonzero(y == code)
            wanted = -(-len(of_class) * SELECTION_ROWS // len(y))
            chosen.append(of_class[random.choice(len(of_class), wanted, replace=False, shuffle=False)])
        return np.sort(np.concatenate(chosen))


class BestClassifier(ClassifierMixin, _Best):
    """The better of logistic regression and HistGradientBoostingClassifier."""

    def fit(
        self,
        X: Table,
        y: NDArray[Any],
        X_val: Matrix | None = None,
        y_val: NDArray[Any] | None = None,
        groups: Groups = None,
        peers: Any = None,
    ) -> Self:
        """Choose and fit. `X` float64 (n, n_columns) with NaN for missing; `y` any labels (n,)."""
        self.classes_, codes = _coded(y, peers)
        validation = None
        if X_val is not None and y_val is not None:
            known = np.isin(y_val, self.classes_)
            validation = _of(X_val, known), np.searchsorted(self.classes_, np.asarray(y_val)[known])
        self._fit(_table(X), codes, validation, groups, peers)
        return self

    def fit_final(self, X: Table, y: NDArray[Any], peers: Any = None) -> Self:
        """Fit what `fit` has chosen on these rows; a class that only they hold is learned as well."""
        self.classes_, codes = _coded(y, peers)
        self._fit_final(_table(X), codes, peers)
        return self

    def predict_proba(self, X: Matrix) -> Matrix:
        """Return float64 (n, n_classes), in the order of ``classes_``."""
        return self._scores(self.best_, np.asarray(X, dtype=np.float64))

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Return the labels of highest probability, the first of equals."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class BestRegressor(RegressorMixin, _Best):
    """The better of ridge regression and HistGradientBoostingRegressor."""

    def fit(
        self,
        X: Table,
        y: NDArray[Any],
        X_val: Matrix | None = None,
        y_val: NDArray[Any] | None = None,
        groups: Groups = None,
        peers: Any = None,
    ) -> Self:
        """Choose and fit. `X` float64 (n, n_columns) with NaN for missing; `y` float64 (n,)."""
        validation = None if X_val is None or y_val is None else (X_val, y_val)
        target = np.asarray(y, dtype=np.float64)
        self._fit(_table(X), target, validation, groups, peers)
        return self

    def fit_final(self, X: Table, y: NDArray[Any], peers: Any = None) -> Self:
        """Fit what `fit` has chosen on these rows."""
        self._fit_final(_table(X), np.asarray(y, dtype=np.float64), peers)
        return self

    def predict(self, X: Matrix) -> Matrix:
        """Return float64 (n,)."""
        return self._scores(self.best_, np.asarray(X, dtype=np.float64))


def _table(X: Any) -> Table:
    return X if hasattr(X, "batches") else np.asarray(X, dtype=np.float64)


def _of(matrix: Matrix, kept: NDArray[np.bool_]) -> Matrix:
    return matrix if kept.all() else matrix[kept]


def _coded(y: NDArray[Any], peers: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the labels that occur, on any instance, and each row's place among them."""
    if peers is not None:
        labels = np.unique(np.concatenate(peers.exchange_array(np.unique(y))))
        return labels, np.searchsorted(labels, y)
    if np.asarray(y).dtype != np.uint8:
        return np.unique(y, return_inverse=True)
    # A large table's: to sort them would take several times the memory of its bins.
    labels = np.flatnonzero(np.bincount(y, minlength=256))
    if len(labels) == labels[-1] + 1:
        return labels, y
    places = np.zeros(256, dtype=np.uint8)
    places[labels] = np.arange(len(labels))
    return labels, places[y]


def _mean(folds: list[float]) -> float:
    """Mean over the folds in which the metric is defined; NaN where it is in none."""
    known = [fold for fold in folds if np.isfinite(fold)]
    return float(np.mean(known)) if known else float("nan")
