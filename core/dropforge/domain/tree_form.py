"""An ensemble of regression trees as bit masks, evaluated for all trees at once.

This is QuickScorer (Lucchese et al., "QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles
of Regression Trees", SIGIR 2015) for models whose columns have few different thresholds, as histogram
boosting gives them (at most 255). Number a tree's leaves from left to right and take a word with a bit per
leaf, all set. A node whose test sends the row to the right clears the leaves of its left subtree. When all
such nodes have done so, the lowest set bit is the leaf that the row falls into.

Which nodes send a row to the right depends on each column's value by itself, and only on which thresholds it
lies between. So the words of all trees after all tests of one column are a row of a table that is made
once, and a prediction is: find one table row per column, AND them together, look up the leaves, add up their
values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Words = NDArray[np.unsignedinteger[Any]]

_CHUNK_WORDS = 1 << 16
"""Words that are worked on at once, for many rows: at most 0.5 MiB, which stays in the second-level cache."""


@dataclass(frozen=True)
class TreeForm:
    """Raw scores are the baseline plus the value of one leaf per tree, added in the trees' order.

    Each column has a table row per bin. A numeric column with m edges has the bins 0 to m (bin i holds the
    values above exactly i edges); a categorical one has a bin per edge, which is one of its category codes.
    The last bin of either is for missing and, of a categorical one, unknown values.

    Attributes:
        columns: int64 (c,), the matrix columns that some tree tests.
        categorical: bool (c,).
        edges: float64, each column's edges in ascending order, one column after the other.
        edge_counts: int64 (c,).
        cut_row, cut_word: int64 (p,), and cut_mask: uint32 or uint64, the type of all words (p,). The word
            `cut_word` keeps only the bits of `cut_mask`, from table row `cut_row` to the column's last bin of
            a number (numeric), or in that row alone (categorical, missing).
        leaf_values: float64 (trees, leaves), class after class, within it in the order of boosting.
        baseline: float64 (k,), what the sum starts at.
        leaf_covers: int64 (trees, leaves), the fitted rows in each leaf; None in a form of a release
            that did not keep them. A node's is the sum of those below it.
    """

    columns: Indices
    categorical: NDArray[np.bool_]
    edges: Floats
    edge_counts: Indices
    cut_row: Indices
    cut_word: Indices
    cut_mask: Words
    leaf_values: Floats
    baseline: Floats
    leaf_covers: Indices | None = None

    @property
    def words(self) -> int:
        """Words per tree."""
        return -(-self.leaf_values.shape[1] // self._word_bits)

    @property
    def _word_bits(self) -> int:
        return self.cut_mask.dtype.itemsize * 8

    @property
    def table_bytes(self) -> int:
        """Memory that the table takes."""
        return (
            int(bin_counts(self.edge_counts, self.categorical).sum()) * self._width * self.cut_mask.itemsize
        )

    @property
    def _width(self) -> int:
        return self.leaf_values.shape[0] * self.words

    @cached_property
    def _first_rows(self) -> list[int]:
        counts = bin_counts(self.edge_counts, self.categorical)
        return [0, *np.cumsum(counts).tolist()]

    @cached_property
    def _table(self) -> Words:
        """The words of all trees (bins of all columns, trees * words)."""
        dtype = self.cut_mask.dtype
        table = np.full((self._first_rows[-1], self._width), np.iinfo(dtype).max, dtype=dtype)
        np.bitwise_and.at(table.reshape(-1), self.cut_row * self._width + self.cut_word, self.cut_mask)
        for column in np.flatnonzero(~self.categorical):
            first = self._first_rows[column]
            bins = table[first : first + int(self.edge_counts[column]) + 1]
            np.bitwise_and.accumulate(bins, axis=0, out=bins)
        return table

    @cached_property
    def _column_edges(self) -> list[Floats]:
        return np.split(self.edges, np.cumsum(self.edge_counts)[:-1])

    @cached_property
    def _single_row(self) -> list[tuple[int, int, int, list[float], dict[float, int] | None]]:
        """Per column: matrix column, first row, row of missing values, edges, and rows by category code."""
        plan = []
        for place, column in enumerate(self.columns.tolist()):
            first, after = self._first_rows[place], self._first_rows[place + 1]
            edges = self._column_edges[place].tolist()
            by_code = {code: first + n for n, code in enumerate(edges)} if self.categorical[place] else None
            plan.append((column, first, after - 1, edges, by_code))
        return plan

    @cached_property
    def _first_leaves(self) -> Indices:
        return np.arange(len(self.leaf_values)) * self.leaf_values.shape[1]

    @cached_property
    def _flat_leaves(self) -> Floats:
        return np.ascontiguousarray(self.leaf_values).reshape(-1)

    def warm(self) -> Self:
        """Make the table now instead of at the first row."""
        _ = self._table, self._single_row, self._first_leaves, self._flat_leaves
        return self

    def raw(self, matrix: Floats) -> Floats:
        """Return raw scores, float64 (n, k), of the encoded matrix (n, n_columns).

        A row's scores are the same bits whatever other rows it comes with.
        """
        if not len(self.columns):
            return self._sums(np.zeros((len(matrix), len(self.leaf_values)), dtype=np.int64))
        if len(matrix) == 1:
            words = np.bitwise_and.reduce(self._table.take(self._rows_of(matrix[0].tolist()), axis=0), axis=0)
            return self._sums(self._leaves(words[np.newaxis]))
        rows = self._rows(matrix)
        chunk = max(1, _CHUNK_WORDS // self._width)
        parts = [
            self._sums(self._leaves(self._words(rows[n : n + chunk]))) for n in range(0, len(rows), chunk)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.baseline)))

    def _rows_of(self, values: list[float]) -> list[int]:
        rows = []
        for column, first, missing, edges, by_code in self._single_row:
            value = values[column]
            if by_code is not None:
                rows.append(by_code.get(value, missing))  # NaN is no key
            else:
                rows.append(missing if value != value else first + bisect_left(edges, value))  # noqa: PLR0124 - NaN
        return rows

    def _rows(self, matrix: Floats) -> Indices:
        """Return the table row per matrix row and column, int64 (n, c)."""
        rows = np.empty((len(matrix), len(self.columns)), dtype=np.int64)
        for place, (column, first, missing, _, by_code) in enumerate(self._single_row):
            values, edges = matrix[:, column], self._column_edges[place]
            bins = np.searchsorted(edges, values)
            known = ~np.isnan(values)
            if by_code is not None:
                known &= edges.take(bins, mode="clip") == values
            rows[:, place] = np.where(known, first + bins, missing)
        return rows

    def _words(self, rows: Indices) -> Words:
        words = self._table.take(rows[:, 0], axis=0)
        for column in rows.T[1:]:
            words &= self._table.take(column, axis=0)
        return words

    def _leaves(self, words: Words) -> Indices:
        """Return the number of the lowest set bit per row and tree, int64 (n, trees)."""
        if self.words > 1:
            each = words.reshape(len(words), -1, self.words)
            first = (each != 0).argmax(axis=2)
            words = np.take_along_axis(each, first[..., np.newaxis], axis=2)[..., 0]
        # The bits below the lowest set one, counted.
        below = np.bitwise_count(~words & (words - words.dtype.type(1))).astype(np.int64)
        return below + first * self._word_bits if self.words > 1 else below

    def _sums(self, leaves: Indices) -> Floats:
        values = self._flat_leaves.take(leaves + self._first_leaves)
        values = values.reshape(len(leaves), len(self.baseline), -1)
        # Added one after the other, as boosting does it: numpy's sum goes by pairs, which rounds differently.
        values[:, :, 0] += self.baseline
        return np.add.accumulate(values, axis=2)[:, :, -1]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the attributes by name."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in held.items() if values is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it of what `to_arrays` gave, ready to score. Raises KeyError where one is missing."""
        held = {field.name: arrays[field.name] for field in fields(cls) if field.name != "leaf_covers"}
        return cls(**held, leaf_covers=arrays.get("leaf_covers")).warm()


def bin_counts(edge_counts: Indices, categorical: NDArray[np.bool_]) -> Indices:
    """Return each column's number of table rows: see `TreeForm`."""
    return edge_counts + np.where(categorical, 1, 2)
