"""Learns what texts and many-valued categories say of the target; see `dropforge.domain.text_features`.

A row's own target never tells of it: rows are dealt to FOLDS folds, and the numbers of a fold's rows are
learned from the other folds. What is delivered is learned from all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dropforge.domain.contract import Contract
from dropforge.domain.encoding import Encoding, learned_columns
from dropforge.domain.text_features import (
    MAXIMUM_OUTPUTS,
    WIDTH,
    HashedTexts,
    Tables,
    TextFeatures,
    hashed,
    names,
)

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


def learn(
    contract: Contract, columns: Mapping[str, NDArray[Any]], target: NDArray[Any], groups: Ints | None
) -> tuple[Encoding, Floats]:
    """Learn an encoding from the rows that the model is fitted on, and encode these.

    Equal rows in equal order give equal bits.

    Args:
        target: codes of classes, int64 (n,), or values, float64 (n,).
        groups: int64 (n,), which rows belong together: all of a group lie in one fold. None where none do.

    Returns:
        the encoding of any row; and the matrix of these rows, float64 (n, n_columns), in which no row's own
        target tells of it.
    """
    encoding = Encoding.learn(contract, columns)
    found = learned_columns(contract)
    if not found:
        return encoding, encoding.encode(columns)
    if groups is not None:
        keys = _mixed(groups.astype(np.uint64))
    elif contract.splits_by_key or contract.splits_by_row or contract.time is not None:
        keys = _mixed(np.arange(len(target), dtype=np.uint64))
    else:
        keys = _keys(contract, columns)
    outputs = _outputs(contract, target)
    texts: dict[str, TextFeatures] = {}
    own: dict[str, Floats] = {}
    with threadpool_limits(limits=1, user_api="blas"):  # sums over several threads round differently
        for column in found:
            values = columns[column.name]
            texts[column.name], own[column.name] = _learn(values, column.type == "text", outputs, keys)
    encoding = encoding.with_texts(texts)
    return encoding, encoding.encode(columns, own)


def made_of(contract: Contract) -> dict[str, tuple[str, ...]]:
    """Return what each column becomes that is learned with the target, for the report."""
    return {c.name: names(c.type == "text", contract.classes) for c in learned_columns(contract)}


def _learn(
    values: NDArray[np.object_], with_words: bool, outputs: Floats, keys: Hashes
) -> tuple[TextFeatures, Floats]:
    folds = (keys % np.uint64(FOLDS)).astype(np.int64)
    buckets = np.concatenate([chunk.values for chunk in hashed(values, False)])
    known = np.array([value is not None for value in values], dtype=bool)
    counts, means = [], []
    for fold in (*range(FOLDS), None):
        rows = known if fold is None else known & (folds != fold)
        count, mean = _values(buckets[rows], outputs[rows], outputs.mean(axis=0))
        counts.append(count * (known.sum() / max(rows.sum(), 1)))  # as many as with the fold's own rows
        means.append(mean)
    told = _weights(values, outputs, keys, folds) if with_words else np.stack(means).astype(np.float32)
    tables = Tables(np.stack(counts).astype(np.float32), told, with_words)
    own = np.concatenate(
        [
            tables.numbers(chunk, folds[start : start + len(chunk.missing)])
            for start, chunk in _placed(hashed(values, with_words))
        ]
    )
    width = outputs.shape[1]
    if not _is_signal(own[known, -width:], outputs[known]):
        tables = Tables(tables.counts, np.zeros_like(told), with_words)
        own[known, -width:] = 0.0
    return TextFeatures(Tables(tables.counts[-1:], tables.told[-1:], with_words)), own


def _placed(chunks: Iterator[HashedTexts]) -> Iterator[tuple[int, HashedTexts]]:
    start = 0
    for chunk in chunks:
        yield start, chunk
        start += len(chunk.missing)


def _is_signal(told: Floats, outputs: Floats) -> bool:
    """Whether what other folds tell goes with any output, float64 (n, k) both, beyond chance."""
    if len(told) < 2:
        return False
    x, y = told - told.mean(axis=0), outputs - outputs.mean(axis=0)
    spread = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    correlation = (x * y).sum(axis=0) / np.where(spread > 0, spread, np.inf)
    return bool((correlation * np.sqrt(len(told)) > SIGNAL).any())


def _values(buckets: Ints, outputs: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Counts of whole values, and their mean outputs, SMOOTHING_ROWS rows of the overall mean among them."""
    counts = np.bincount(buckets, minlength=WIDTH).astype(np.float64)
    sums = np.stack([np.bincount(buckets, each, minlength=WIDTH) for each in outputs.T], axis=1)
    return counts, (sums + SMOOTHING_ROWS * prior) / (counts + SMOOTHING_ROWS)[:, None]


def _weights(values: NDArray[np.object_], outputs: Floats, keys: Hashes, folds: Ints) -> NDArray[np.float32]:
    """Weights of words by ridge regression, float32 (FOLDS + 1, WIDTH, k): without each fold, and of all."""
    order = np.lexsort((np.arange(len(keys)), keys))[:LEARNING_ROWS]
    parts, total = list[HashedTexts](), 0
    for chunk in hashed(values[order], True):
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
            model.fit(table[kept], outputs[rows[kept]])
            found[place] = np.atleast_2d(model.coef_).T
    return found


def _outputs(contract: Contract, target: NDArray[Any]) -> Floats:
    """What is said of each row: its standardised target, float64 (n, 1), or indicators of classes (n, k)."""
    if contract.classes is None:
        values = np.asarray(target, dtype=np.float64)
        spread = float(values.std())
        return ((values - values.mean()) / (spread if spread > 0 else 1.0))[:, None]
    codes = np.asarray(target, dtype=np.int64)
    if len(contract.classes) == 2:
        return (codes == 1).astype(np.float64)[:, None]
    width = min(len(contract.classes), MAXIMUM_OUTPUTS)
    return (codes[:, None] % width == np.arange(width)).astype(np.float64)


def _keys(contract: Contract, columns: Mapping[str, NDArray[Any]]) -> Hashes:
    """A number per row that equal rows share: no fold learns from what comes again in the other, as no split
    does where rows are split by their values."""
    rows = len(columns[contract.features[0].name])
    keys = np.zeros(rows, dtype=np.uint64)
    for column in contract.features:
        values = columns[column.name]
        if column.type in ("category", "text"):
            parts = [chunk.hashes for chunk in hashed(values, False)]
            hashes = np.concatenate([np.empty(0, dtype=np.uint64), *parts])
        else:
            hashes = (np.asarray(values, dtype=np.float64) + 0.0).view(np.uint64)
        keys = _mixed(keys ^ hashes)
    return keys


def _mixed(keys: Hashes) -> Hashes:
    mixed = (keys + _MIX) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(29))
