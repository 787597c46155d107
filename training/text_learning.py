"""Learns what texts and many-valued categories say of the target; see `dropforge.domain.text_features`.

A row's own target never tells of it: rows are dealt to FOLDS folds, and the numbers of a fold's rows are
learned from the other folds. What is delivered is learned from all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dropforge.domain.contract import Column, Contract
from dropforge.domain.encoding import ColumnArrays, Encoding, Labels, learned_columns
from dropforge.domain.text_features import (
    MAXIMUM_OUTPUTS,
    WIDTH,
    HashedTexts,
    Tables,
    TextFeatures,
    hashed,
    names,
)
from splits import TYPES, pieces_at

FOLDS = 5
LEARNING_ROWS = 100_000
"""Rows that words are learned from: with more, weights hardly change, and time grows."""

LEARNING_WORDS = 10_000_000
"""Entries of the table that they are learned from, 12 bytes each; rows beyond are left out."""

ALPHA = 1.0
"""Strength of the penalty on words' weights, of texts that are scaled to length 1."""

SMOOTHING_ROWS = 10.0
"""Rows of the overall mean that are mixed into a value's mean (Micci-Barreca, SIGKDD Explorations 2001)."""

SIGNAL = 3.0
"""Standard errors by which what other folds tell of a row has to go with its target. Where it doesn't for any
output, nothing is told: noise in many columns costs boosting more than it can find in them."""

_TOLERANCE = 1e-3
_MIX = np.uint64(0x9E3779B97F4A7C15)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Pieces = Callable[[Collection[str]], Iterable[ColumnArrays]]


def learn(
    contract: Contract, pieces: Pieces, target: NDArray[Any], groups: Ints | None
) -> tuple[Encoding, dict[str, NDArray[np.float32]]]:
    """Learn an encoding from the rows that the model is fitted on.

    Equal rows in equal order give equal bits, whatever pieces they come in.

    Args:
        pieces: yields the features of some types, all rows in pieces; is called several times.
        target: codes of classes, or float64 values: (n,).
        groups: int64 (n,), which rows belong together: all of a group lie in one fold. None where none do.

    Returns:
        the encoding of any row; and of each learned column the numbers of these rows, float32 (n, width),
        in which no row's own target tells of it.
    """
    encoding = Encoding.learn(contract, pieces(["category"]))
    found = learned_columns(contract)
    if not found:
        return encoding, {}
    if groups is not None:
        keys = _mixed(groups.astype(np.uint64))
    elif contract.splits_by_key or contract.splits_by_row or contract.time is not None:
        keys = _mixed(np.arange(len(target), dtype=np.uint64))
    else:
        keys = np.concatenate([_keys(contract, columns) for columns in pieces(TYPES)])
    outputs = _outputs(contract, target)
    folds = (keys % np.uint64(FOLDS)).astype(np.int8)
    texts: dict[str, TextFeatures] = {}
    own: dict[str, NDArray[np.float32]] = {}
    with threadpool_limits(limits=1, user_api="blas"):  # sums over several threads round differently
        for column in found:
            values = _Values(pieces, column)
            texts[column.name], own[column.name] = _learn(values, outputs, keys, folds)
    return encoding.with_texts(texts), own


def made_of(contract: Contract) -> dict[str, tuple[str, ...]]:
    """Return what each column becomes that is learned with the target, for the report."""
    return {c.name: names(c.type == "text", contract.classes) for c in learned_columns(contract)}


class _Values:
    """A column's values, all rows in pieces, as often as it takes to learn from them."""

    def __init__(self, pieces: Pieces, column: Column) -> None:
        self._pieces, self._column = pieces, column
        self.with_words = column.type == "text"

    def labels(self) -> Iterator[Labels]:
        for columns in self._pieces([self._column.type]):
            yield columns[self._column.name]

    def hashed(self) -> Iterator[HashedTexts]:
        """Yield the rows' values, with words where words are looked at."""
        for labels in self.labels():
            if self.with_words:
                yield from hashed(labels.to_objects(), True)
            else:
                yield _whole(labels)

    def at(self, rows: Ints) -> NDArray[np.object_]:
        """Return the values of some rows, in the order asked for."""
        order = np.argsort(rows)
        parts = [labels.take(places).to_objects() for labels, places in pieces_at(rows[order], self.labels())]
        found = np.empty(len(rows), dtype=object)
        found[order] = np.concatenate([np.empty(0, dtype=object), *parts])
        return found


def _whole(labels: Labels) -> HashedTexts:
    """Hash each different value once."""
    none = np.empty(0, dtype=np.int64)
    parts = list(hashed([*labels.words, None], False))
    missing, lengths, hashes, values = (
        np.concatenate([getattr(part, name) for part in parts])[labels.codes]
        for name in ("missing", "lengths", "hashes", "values")
    )
    return HashedTexts(missing, lengths, hashes, values, none, none)


def _learn(
    values: _Values, outputs: NDArray[Any], keys: Hashes, folds: NDArray[np.int8]
) -> tuple[TextFeatures, NDArray[np.float32]]:
    parts = [_whole(labels) for labels in values.labels()]
    buckets = np.concatenate([part.values.astype(np.int16) for part in parts])
    known = ~np.concatenate([part.missing for part in parts])
    del parts
    counts, means = [], []
    for fold in (*range(FOLDS), None):
        rows = known if fold is None else known & (folds != fold)
        count, mean = _values(buckets[rows], outputs[rows], outputs.mean(axis=0))
        counts.append(count * (known.sum() / max(rows.sum(), 1)))  # as many as with the fold's own rows
        means.append(mean)
    told = _weights(values, outputs, keys, folds) if values.with_words else np.stack(means).astype(np.float32)
    tables = Tables(np.stack(counts).astype(np.float32), told, values.with_words)
    width = outputs.shape[1]
    own = np.empty((len(keys), 1 + values.with_words + width), dtype=np.float32)
    end = 0
    for chunk in values.hashed():
        start, end = end, end + len(chunk.missing)
        own[start:end] = tables.numbers(chunk, folds[start:end].astype(np.int64))
    if not _is_signal(own[known, -width:], outputs[known]):
        tables = Tables(tables.counts, np.zeros_like(told), values.with_words)
        own[known, -width:] = 0.0
    return TextFeatures(Tables(tables.counts[-1:], tables.told[-1:], values.with_words)), own


def _is_signal(told: NDArray[np.float32], outputs: NDArray[Any]) -> bool:
    """Whether what other folds tell goes with any output, (n, k) both, beyond chance."""
    if len(told) < 2:
        return False
    for number in range(outputs.shape[1]):
        x, y = told[:, number].astype(np.float64), outputs[:, number].astype(np.float64)
        x, y = x - x.mean(), y - y.mean()
        spread = np.sqrt((x * x).sum() * (y * y).sum())
        if spread > 0 and (x * y).sum() / spread * np.sqrt(len(told)) > SIGNAL:
            return True
    return False


def _values(buckets: NDArray[np.int16], outputs: NDArray[Any], prior: Floats) -> tuple[Floats, Floats]:
    """Counts of whole values, and their mean outputs, SMOOTHING_ROWS rows of the overall mean among them."""
    counts = np.bincount(buckets, minlength=WIDTH).astype(np.float64)
    sums = np.stack([np.bincount(buckets, each, minlength=WIDTH) for each in outputs.T], axis=1)
    return counts, (sums + SMOOTHING_ROWS * prior) / (counts + SMOOTHING_ROWS)[:, None]


def _weights(
    values: _Values, outputs: NDArray[Any], keys: Hashes, folds: NDArray[np.int8]
) -> NDArray[np.float32]:
    """Weights of words by ridge regression, float32 (FOLDS + 1, WIDTH, k): without each fold, and of all."""
    order = _lowest(keys, LEARNING_ROWS)
    parts, total = list[HashedTexts](), 0
    for chunk in hashed(values.at(order), True):
        if total + len(chunk.words) > LEARNING_WORDS and parts:
            break
        parts.append(chunk)
        total += len(chunk.words)
    sizes = np.concatenate([chunk.sizes for chunk in parts])
    words = np.concatenate([chunk.words for chunk in parts]).astype(np.int32)
    rows = order[: len(sizes)]
    entries = np.repeat(1.0 / np.sqrt(np.maximum(sizes, 1)), sizes)
    table = csr_array((entries, words, np.append(0, np.cumsum(sizes))), shape=(len(sizes), WIDTH))
    found = np.zeros((FOLDS + 1, WIDTH, outputs.shape[1]), dtype=np.float32)
    for place in range(FOLDS + 1):
        kept = np.flatnonzero(folds[rows] != place)  # of the last, all
        if len(kept) > 1:
            model = Ridge(alpha=ALPHA, solver="sparse_cg", tol=_TOLERANCE)
            model.fit(table[kept], outputs[rows[kept]].astype(np.float64))
            found[place] = np.atleast_2d(model.coef_).T
    return found


def _lowest(keys: Hashes, n: int) -> Ints:
    """Return the places of the n lowest keys, the lowest first; of equal ones the earliest."""
    bound = np.partition(keys, n)[n] if len(keys) > n else np.uint64(2**64 - 1)
    places = np.flatnonzero(keys <= bound)
    return places[np.argsort(keys[places], kind="stable")][:n]


def _outputs(contract: Contract, target: NDArray[Any]) -> NDArray[Any]:
    """What is said of each row: its standardised target, float64 (n, 1), or uint8 (n, k) for its class."""
    if contract.classes is None:
        values = np.asarray(target, dtype=np.float64)
        spread = float(values.std())
        return ((values - values.mean()) / (spread if spread > 0 else 1.0))[:, None]
    if len(contract.classes) == 2:
        return (target == 1).astype(np.uint8)[:, None]
    width = min(len(contract.classes), MAXIMUM_OUTPUTS)
    return (target[:, None] % width == np.arange(width)).astype(np.uint8)


def _keys(contract: Contract, columns: ColumnArrays) -> Hashes:
    """A number per row that equal rows share: no fold learns from what comes again in the other, as no split
    does where rows are split by their values."""
    keys = np.zeros(len(columns[contract.features[0].name]), dtype=np.uint64)
    for column in contract.features:
        values = columns[column.name]
        if isinstance(values, Labels):
            hashes = _whole(values).hashes
        else:
            hashes = (np.asarray(values, dtype=np.float64) + 0.0).view(np.uint64)
        keys = _mixed(keys ^ hashes)
    return keys


def _mixed(keys: Hashes) -> Hashes:
    mixed = (keys + _MIX) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(29))
