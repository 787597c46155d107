"""Makes the compiled form of a fitted estimator, where it has one; see `dropforge.domain.compiled`.

An estimator has one if it is a HistGradientBoostingClassifier or -Regressor, or if it has a method
``compiled_form()`` that returns a `Compiled` and raises `NotCompilable` where it can't.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from dropforge.domain.compiled import TOLERANCE, Compiled, largest_difference
from dropforge.domain.tree_form import TreeForm, bin_counts

MAXIMUM_TABLE_BYTES = 128 << 20
"""Memory that a compiled ensemble may take: about what not importing scikit-learn saves."""

LINKS = {
    "IdentityLink": "identity",
    "LogLink": "log",
    "LogitLink": "logit",
    "MultinomialLogit": "multinomial",
}
"""The names of scikit-learn's link classes, and ours."""

Matrix = NDArray[np.float64]


class NotCompilable(Exception):
    """The estimator has no compiled form; the text says why. The job goes on with the estimator itself."""


@dataclass(frozen=True)
class Compilation:
    """What became of the attempt: the compiled model to ship, or the reason why there is none."""

    compiled: Compiled | None
    reason: str | None
    difference: float | None
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entry ``compiled`` of training_report.json."""
        return {
            "used": self.compiled is not None,
            "kind": None if self.compiled is None else self.compiled.kind,
            "reason": self.reason,
            "largest_difference": self.difference,
            "rows_compared": self.rows,
        }


def compile_checked(
    estimator: Any,
    n_classes: int,
    predict: Callable[[Matrix], Matrix],
    matrix: Matrix,
    labels: Callable[[Matrix], NDArray[np.int64]] | None = None,
) -> Compilation:
    """Compile and compare with the estimator's own scores.

    Args:
        estimator: any fitted estimator.
        n_classes: classes of the contract; 0 for a regression.
        predict: the estimator's scores, as `inference.predictor_of` gives them.
        matrix: the rows to compare on, float64 (n, n_columns).
        labels: what a decision threshold makes of scores, where there is one: both forms must agree.
    """
    try:
        compiled = compiled_form(estimator)
        scores = compiled.scorer(n_classes)(matrix)
    except NotCompilable as problem:
        return Compilation(None, str(problem), None, 0)
    except Exception as error:  # whatever breaks in here, the estimator itself still serves
        return Compilation(None, f"compiling failed: {type(error).__name__}: {error}", None, 0)
    reference = predict(matrix)
    difference = largest_difference(scores, reference)
    if not difference <= TOLERANCE:
        reason = f"its scores differ from the estimator's by up to {difference:g}; {TOLERANCE:g} is allowed"
        shown = difference if np.isfinite(difference) else None
        return Compilation(None, reason, shown, len(matrix))
    if labels is not None and (others := int((labels(scores) != labels(reference)).sum())):
        return Compilation(
            None, f"the decision threshold gives {others} rows another label", difference, len(matrix)
        )
    return Compilation(compiled, None, difference, len(matrix))


def compiled_form(estimator: Any) -> Compiled:
    """Return the compiled form of a fitted estimator, its scores in the order of the estimator's classes.

    Raises:
        NotCompilable: it has none.
    """
    if callable(getattr(estimator, "compiled_form", None)):
        compiled = estimator.compiled_form()
        if not isinstance(compiled, Compiled):
            raise NotCompilable(f"compiled_form() returned a {type(compiled).__name__}, no Compiled")
        return compiled
    if isinstance(estimator, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return boosted_form(estimator)
    raise NotCompilable(f"{type(estimator).__name__} has no compiled form")


def boosted_form(
    estimator: HistGradientBoostingClassifier | HistGradientBoostingRegressor,
    columns: NDArray[np.intp] | None = None,
) -> Compiled:
    """Compile histogram gradient boosting, native categorical splits and missing values included.

    Reads what scikit-learn 1.9 keeps of its trees (``sklearn/ensemble/_hist_gradient_boosting/predictor.py``
    and ``_predictor.pyx``).

    Args:
        estimator: fitted.
        columns: the matrix column of each of the estimator's columns; by default they are the same.

    Raises:
        NotCompilable: the ensemble needs too much memory in this form, or its link is unknown.
    """
    link = LINKS.get(type(estimator._loss.link).__name__)
    if link is None:
        raise NotCompilable(f"the link {type(estimator._loss.link).__name__} is unknown")
    ensemble = _Histograms(estimator)
    form = ensemble.form(np.arange(estimator.n_features_in_) if columns is None else columns)
    classes = None
    if isinstance(estimator, HistGradientBoostingClassifier):
        classes = tuple(int(label) for label in estimator.classes_)
    return Compiled(form, link, classes)


class Ensemble(ABC):
    """The trees of a fitted estimator, and where the values of its columns are split.

    Attributes:
        trees: class after class, within it in the order of boosting. Each has ``nodes``: of every node
            ``is_leaf``, ``left``, ``right``, ``value`` and ``count``.
        baseline: float64 (k,), what the sum starts at.
        features: int64 (c,), the features that some node tests, numbered as its trees do.
        sources: the estimator's column of each feature.
        categorical: bool (c,).
        edges: per feature, see `TreeForm`.
    """

    trees: Sequence[Any]
    baseline: NDArray[np.float64]
    features: NDArray[np.int64]
    sources: NDArray[np.int64]
    categorical: NDArray[np.bool_]
    edges: Sequence[NDArray[np.float64]]

    @abstractmethod
    def rows_to_the_right(self, tree: Any, node: int, first_rows: Mapping[int, int]) -> list[int]:
        """Return the table rows from which on (numeric) or in which (others) the node goes right."""

    def form(self, columns: NDArray[np.intp]) -> TreeForm:
        """Make the form, whose columns are those places of the estimator's columns."""
        most_leaves = max(int(np.count_nonzero(tree.nodes["is_leaf"])) for tree in self.trees)
        counts = np.array([len(edges) for edges in self.edges], dtype=np.int64)
        bits = 32 if most_leaves <= 32 else 64
        words = -(-most_leaves // bits)
        rows = bin_counts(counts, self.categorical)
        table_bytes = int(rows.sum()) * len(self.trees) * words * bits // 8
        if table_bytes > MAXIMUM_TABLE_BYTES:
            raise NotCompilable(
                f"{len(self.trees)} trees of up to {most_leaves} leaves would take {table_bytes >> 20} MiB "
                f"as tables, more than {MAXIMUM_TABLE_BYTES >> 20}"
            )
        first_rows = dict(zip(self.features.tolist(), (np.cumsum(rows) - rows).tolist(), strict=True))
        values = np.zeros((len(self.trees), most_leaves))
        covers = np.zeros(values.shape, dtype=np.int64)
        cuts: list[tuple[int, int, int]] = []
        for number, tree in enumerate(self.trees):
            leaves, spans = _leaves_in_order(tree.nodes)
            values[number, : len(leaves)] = tree.nodes["value"][leaves]
            covers[number, : len(leaves)] = tree.nodes["count"][leaves]
            for node, (begin, end) in spans.items():
                right = self.rows_to_the_right(tree, node, first_rows)
                masks = [(number * words + word, mask) for word, mask in _masks(begin, end, bits)]
                cuts += [(row, word, mask) for row in right for word, mask in masks]
        return TreeForm(
            columns=columns[self.sources[self.features]].astype(np.int64),
            categorical=self.categorical,
            edges=np.concatenate([*self.edges, np.empty(0)]),
            edge_counts=counts,
            cut_row=np.array([row for row, _, _ in cuts], dtype=np.int64),
            cut_word=np.array([word for _, word, _ in cuts], dtype=np.int64),
            cut_mask=np.array([mask for _, _, mask in cuts], dtype=f"uint{bits}"),
            leaf_values=values,
            baseline=self.baseline,
            leaf_covers=covers,
        )


class _Histograms(Ensemble):
    """The trees of scikit-learn's histogram boosting."""

    def __init__(self, estimator: Any) -> None:
        iterations = estimator._predictors
        self.trees = [iteration[k] for k in range(len(iterations[0])) for iteration in iterations]
        self.baseline = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
        self._known_bits, self._known_row = estimator._bin_mapper.make_known_categories_bitsets()
        self.sources, self.codes = _inputs(estimator)
        used = [tree.nodes["feature_idx"][tree.nodes["is_leaf"] == 0] for tree in self.trees]
        self.features = np.unique(np.concatenate(used)).astype(np.int64)
        self.categorical = np.array([feature in self.codes for feature in self.features.tolist()], dtype=bool)
        self.edges = [self._edges(feature) for feature in self.features.tolist()]

    def _edges(self, feature: int) -> NDArray[np.float64]:
        if feature in self.codes:
            return np.asarray(self.codes[feature], dtype=np.float64)
        thresholds = [
            tree.nodes["num_threshold"][(tree.nodes["is_leaf"] == 0) & (tree.nodes["feature_idx"] == feature)]
            for tree in self.trees
        ]
        return np.unique(np.concatenate(thresholds))

    def rows_to_the_right(self, tree: Any, node: int, first_rows: Mapping[int, int]) -> list[int]:
        test = tree.nodes[node]
        feature = int(test["feature_idx"])
        place = int(np.searchsorted(self.features, feature))
        edges, first = self.edges[place], first_rows[feature]
        if feature not in self.codes:
            rows = [first + int(np.searchsorted(edges, test["num_threshold"])) + 1]
            return rows if test["missing_go_to_left"] else [*rows, first + len(edges) + 1]
        left = tree.raw_left_cat_bitsets[test["bitset_idx"]]
        known = self._known_bits[self._known_row[feature]]
        rows = []
        for code in range(len(edges)):
            # A category that the estimator didn't see counts as missing.
            goes_left = _has_bit(left, code) or (not _has_bit(known, code) and test["missing_go_to_left"])
            if not goes_left:
                rows.append(first + code)
        return rows if test["missing_go_to_left"] else [*rows, first + len(edges)]


def _inputs(estimator: Any) -> tuple[NDArray[np.int64], dict[int, NDArray[np.float64]]]:
    """Return the estimator's column per feature of its trees, and the categories of those that have any.

    With categorical columns the estimator numbers its features anew: the categorical ones come first, their
    values replaced by their place among the categories seen.
    """
    preprocessor = estimator._preprocessor
    if preprocessor is None:
        return np.arange(estimator.n_features_in_), {}
    categorical = np.asarray(estimator.is_categorical_, dtype=bool)
    encoder = preprocessor.named_transformers_["encoder"]
    sources = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    codes = {}
    for feature, categories in enumerate(encoder.categories_):
        values = np.asarray(categories, dtype=np.float64)
        codes[feature] = values[~np.isnan(values)]  # NaN stands last where a value was missing
    return sources, codes


def _leaves_in_order(nodes: NDArray[Any]) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Return the leaves from left to right, and per inner node the span of its left subtree's leaves."""
    leaves: list[int] = []
    begins: dict[int, int] = {}
    spans: dict[int, tuple[int, int]] = {}
    pending = [(0, False)]
    inner = (nodes["is_leaf"] == 0).tolist()
    left, right = nodes["left"].tolist(), nodes["right"].tolist()
    while pending:
        node, left_done = pending.pop()
        if not inner[node]:
            leaves.append(node)
        elif left_done:
            spans[node] = (begins[node], len(leaves))
            pending.append((right[node], False))
        else:
            begins[node] = len(leaves)
            pending += [(node, True), (left[node], False)]
    return leaves, spans


def _masks(begin: int, end: int, bits: int) -> list[tuple[int, int]]:
    """Return (word, mask) for every word that has a leaf of the span; the mask keeps all others."""
    full = (1 << bits) - 1
    masks = []
    for word in range(begin // bits, (end - 1) // bits + 1):
        low, high = max(begin - word * bits, 0), min(end - word * bits, bits)
        masks.append((word, full & ~((1 << high) - (1 << low))))
    return masks


def _has_bit(bitset: NDArray[np.uint32], code: int) -> bool:
    return bool(int(bitset[code // 32]) >> (code % 32) & 1)
