"""Reads the trees that LightGBM writes as text, and makes the compiled form of them.

What a node does with a value is LightGBM's ``NumericalDecision`` and ``CategoricalDecision`` (``tree.h``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiling import Ensemble

_IS_CATEGORICAL, _GOES_LEFT = 1, 2
_MISSING_IS_NAN = 2  # of the third and fourth bit; else a missing number is 0.0


@dataclass(frozen=True)
class _Tree:
    """Inner nodes first, then leaves."""

    nodes: Mapping[str, NDArray[Any]]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    decision: NDArray[np.int64]
    codes_to_the_left: Mapping[int, frozenset[int]]

    @classmethod
    def of(cls, block: str) -> _Tree:
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)

        def numbers(name: str, kind: type) -> NDArray[Any]:
            return np.array(said.get(name, "").split(), dtype=kind)

        feature, decision = numbers("split_feature", np.int64), numbers("decision_type", np.int64)
        threshold, values = numbers("threshold", np.float64), numbers("leaf_value", np.float64)
        inner = len(feature)
        children = [numbers(f"{side}_child", np.int64) for side in ("left", "right")]
        left, right = (np.where(each >= 0, each, inner + ~each) for each in children)
        none = np.zeros(len(values), dtype=np.int64)
        counts = numbers("leaf_count", np.int64)
        nodes = {
            "is_leaf": np.arange(inner + len(values)) >= inner,
            "left": np.concatenate([left, none]),
            "right": np.concatenate([right, none]),
            "value": np.concatenate([np.zeros(inner), values]),
            "count": np.concatenate([np.zeros(inner, dtype=np.int64), counts if len(counts) else none]),
        }
        bounds, words = numbers("cat_boundaries", np.int64), numbers("cat_threshold", np.uint32)
        codes = {}
        for node in np.flatnonzero(decision & _IS_CATEGORICAL).tolist():
            place = int(threshold[node])
            bits = np.unpackbits(words[bounds[place] : bounds[place + 1]].view(np.uint8), bitorder="little")
            codes[node] = frozenset(np.flatnonzero(bits).tolist())
        return cls(nodes, feature, threshold, decision, codes)


class LightGbmTrees(Ensemble):
    """The trees of a model's text.

    Args:
        text: as ``Booster.model_to_string`` writes it.
        n_outputs: numbers that each round has a tree for.
        n_columns: of the matrix.
    """

    def __init__(self, text: str, n_outputs: int, n_columns: int) -> None:
        _, *blocks = text.partition("end of trees")[0].split("\nTree=")
        trees = [_Tree.of(block) for block in blocks]
        self.trees = [tree for output in range(n_outputs) for tree in trees[output::n_outputs]]
        self.baseline = np.zeros(n_outputs)
        self.sources = np.arange(n_columns)
        edges: dict[int, set[float]] = {}
        categorical: set[int] = set()
        for tree in trees:
            for node, feature in enumerate(tree.feature.tolist()):
                found = edges.setdefault(feature, set())
                if node in tree.codes_to_the_left:
                    categorical.add(feature)
                    found.update(map(float, tree.codes_to_the_left[node]))
                else:
                    found.add(float(tree.threshold[node]))
        self.features = np.array(sorted(edges), dtype=np.int64)
        self.categorical = np.array([feature in categorical for feature in sorted(edges)], dtype=bool)
        self.edges = [np.array(sorted(edges[feature])) for feature in sorted(edges)]
        self._place = {feature: place for place, feature in enumerate(sorted(edges))}

    def rows_to_the_right(self, tree: _Tree, node: int, first_rows: Mapping[int, int]) -> list[int]:
        feature, decision = int(tree.feature[node]), int(tree.decision[node])
        edges, first = self.edges[self._place[feature]], first_rows[feature]
        if node in tree.codes_to_the_left:
            left = tree.codes_to_the_left[node]
            rows = [first + place for place, code in enumerate(edges.tolist()) if int(code) not in left]
            return [*rows, first + len(edges)]  # missing and unknown
        threshold = float(tree.threshold[node])
        rows = [first + int(np.searchsorted(edges, threshold)) + 1]
        if decision >> 2 == _MISSING_IS_NAN:
            missing_goes_left = bool(decision & _GOES_LEFT)
        else:
            missing_goes_left = threshold >= 0.0
        return rows if missing_goes_left else [*rows, first + len(edges) + 1]
