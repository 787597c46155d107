"""Numbers made of texts: how often a value occurs, and what it, or its words, say of the target.

Nothing of a text itself is kept. Values, words, pairs of neighbouring words and, of short texts, runs of
three bytes are hashed into `WIDTH` buckets (Weinberger et al., "Feature Hashing for Large Scale Multitask
Learning", ICML 2009), and what was learned is a table of numbers per bucket. So memory is bounded whatever
the texts are, and a text that was never seen has words that were.

Hashes are polynomials over bytes modulo 2^64, so that the hashes of all words of many texts are differences
of prefix sums: no loop over words in Python. A row's numbers are the same bits whatever rows come with it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

WIDTH = 1 << 14
"""Buckets per column. A number takes 4 bytes, so a column of a binary target takes 128 KiB."""

MAXIMUM_CHARACTERS = 10_000
"""What is read of a text; the rest counts for its length alone."""

SHORT_BYTES = 64
"""Up to so long, a text's runs of three bytes are looked at: names and codes differ within their words."""

MAXIMUM_OUTPUTS = 10
"""Numbers per kind for a target of several classes; where it has more, classes share them in turn."""

_CHUNK_BYTES = 1 << 20
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_OF_VALUE, _OF_WORD, _OF_PAIR, _OF_RUN = (
    np.uint64(seed * int(_BASE) % (1 << 64)) for seed in (11, 23, 37, 53)
)
_RUN = 3
_IS_WORD = np.array([chr(b).isalnum() or b >= 0x80 for b in range(256)], dtype=bool)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class HashedTexts:
    """Texts as places in tables.

    Attributes:
        missing: bool (n,).
        lengths: float64 (n,), characters; NaN where missing.
        hashes: uint64 (n,), of each whole value; 0 where missing.
        values: int64 (n,), its bucket; 0 where missing.
        rows, words: int64 (t,), the different buckets of each row's value, words, pairs and runs; by row,
            ascending.
    """

    missing: NDArray[np.bool_]
    lengths: Floats
    hashes: Hashes
    values: Ints
    rows: Ints
    words: Ints

    @cached_property
    def sizes(self) -> Ints:
        """How many different buckets each row has, int64 (n,)."""
        return np.bincount(self.rows, minlength=len(self.missing))


def hashed(texts: Sequence[str | None] | NDArray[np.object_], with_words: bool) -> Iterator[HashedTexts]:
    """Hash texts, a chunk of rows at a time.

    Args:
        with_words: whether words are looked at, or whole values alone.
    """
    start, held = 0, 0
    pending: list[bytes] = []
    sizes = np.array([np.nan if text is None else len(text) for text in texts], dtype=np.float64)
    for place, text in enumerate(texts):
        encoded = b"" if text is None else text[:MAXIMUM_CHARACTERS].lower().encode("utf-8", "surrogatepass")
        pending.append(encoded)
        held += len(encoded) + 1
        if held >= _CHUNK_BYTES:
            yield _hashed(pending, sizes[start : place + 1], with_words)
            start, held, pending = place + 1, 0, []
    if pending:
        yield _hashed(pending, sizes[start:], with_words)


def _hashed(texts: Sequence[bytes], lengths: Floats, with_words: bool) -> HashedTexts:
    joined = np.frombuffer(b"\0".join(texts) + b"\0", dtype=np.uint8)
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = np.append(0, ends[:-1] + 1)
    prefix, inverse = _prefix_sums(joined)
    missing = np.isnan(lengths)
    hashes = np.where(missing, np.uint64(0), _of_spans(prefix, inverse, starts, ends))
    values = np.where(missing, 0, _buckets(hashes, _OF_VALUE))
    none = np.empty(0, dtype=np.int64)
    if not with_words:
        return HashedTexts(missing, lengths, hashes, values, none, none)
    row_of = np.repeat(np.arange(len(texts)), ends - starts + 1)
    is_word = _IS_WORD[joined]
    before = np.append(False, is_word[:-1])
    firsts, lasts = np.flatnonzero(is_word & ~before), np.flatnonzero(~is_word & before)
    words = _of_spans(prefix, inverse, firsts, lasts)
    of = row_of[firsts]
    neighbours = np.flatnonzero(of[1:] == of[:-1])
    pairs = words[neighbours] * _BASE + words[neighbours + 1]
    is_short = (ends - starts) <= SHORT_BYTES
    runs = np.flatnonzero(is_short[row_of])
    runs = runs[runs + _RUN <= ends[row_of[runs]]]
    found = [
        (np.flatnonzero(~missing), values[~missing]),
        (of, _buckets(words, _OF_WORD)),
        (of[neighbours], _buckets(pairs, _OF_PAIR)),
        (row_of[runs], _buckets(_of_spans(prefix, inverse, runs, runs + _RUN), _OF_RUN)),
    ]
    distinct = np.unique(np.concatenate([rows * WIDTH + buckets for rows, buckets in found]))
    return HashedTexts(missing, lengths, hashes, values, distinct // WIDTH, distinct % WIDTH)


def _prefix_sums(joined: NDArray[np.uint8]) -> tuple[Hashes, Hashes]:
    """Sums of byte times power of the base before each place, and the powers of its inverse."""
    powers = np.full(len(joined), _BASE)
    powers[:1] = 1
    inverse = np.full(len(joined), _INVERSE)
    inverse[:1] = 1
    sums = np.cumsum((joined.astype(np.uint64) + np.uint64(1)) * np.cumprod(powers))
    return np.concatenate([np.zeros(1, dtype=np.uint64), sums]), np.append(np.cumprod(inverse), np.uint64(0))


def _of_spans(prefix: Hashes, inverse: Hashes, firsts: Ints, ends: Ints) -> Hashes:
    """The hash of each span of bytes, which depends on these bytes alone."""
    return (prefix[ends] - prefix[firsts]) * inverse[firsts]


def _buckets(hashes: Hashes, seed: np.uint64) -> Ints:
    """Mix all bits into the upper ones (the finaliser of SplitMix64), which are the bucket."""
    mixed = hashes + seed
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(64 - (WIDTH - 1).bit_length())).astype(np.int64)


@dataclass(frozen=True)
class Tables:
    """What was learned of a column, by bucket, once or once per fold.

    Attributes:
        counts: float32 (folds, WIDTH), rows of each whole value.
        told: float32 (folds, WIDTH, k), what it tells of the target: a word's weight, or the mean target of a
            whole value's rows.
        with_words: which of the two.
    """

    counts: NDArray[np.float32]
    told: NDArray[np.float32]
    with_words: bool

    def numbers(self, texts: HashedTexts, folds: Ints | None = None) -> Floats:
        """Return the numbers of a chunk of texts, float64 (n, see `names`); NaN where there is no text.

        Args:
            folds: int64 (n,), which tables count for each row; by default the first.
        """
        rows = len(texts.missing)
        of = np.zeros(rows, dtype=np.int64) if folds is None else folds
        frequency = np.log1p(self.counts[of, texts.values].astype(np.float64))[:, None]
        if self.with_words:
            weights = self.told[of[texts.rows], texts.words].astype(np.float64)
            scale = 1.0 / np.sqrt(np.maximum(texts.sizes, 1))
            # bincount adds one after the other, so a row's sum doesn't depend on the rows around it.
            sums = [np.bincount(texts.rows, each, minlength=rows) * scale for each in weights.T]
            found = np.hstack([frequency, np.log1p(texts.lengths)[:, None], np.stack(sums, axis=1)])
        else:
            found = np.hstack([frequency, self.told[of, texts.values].astype(np.float64)])
        found[texts.missing] = np.nan
        return found


@dataclass(frozen=True)
class TextFeatures:
    """The numbers that a column becomes, once they were learned; see `names` for their order."""

    tables: Tables

    def encode(self, texts: Sequence[str | None] | NDArray[np.object_]) -> Floats:
        """Return the numbers of n texts, float64 (n, see `names`); NaN where there is no text."""
        parts = [self.tables.numbers(chunk) for chunk in hashed(texts, self.tables.with_words)]
        width = 1 + self.tables.with_words + self.tables.told.shape[2]
        return np.concatenate(parts) if parts else np.empty((0, width))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, for `from_dict`: little-endian float32 in base64."""
        tables = self.tables
        return {
            "words": tables.with_words,
            "outputs": tables.told.shape[2],
            "counts": _packed(tables.counts),
            "told": _packed(tables.told),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is nothing of the kind.
        """
        shape = (1, WIDTH, int(raw["outputs"]))
        return cls(
            Tables(_unpacked(raw["counts"], shape[:2]), _unpacked(raw["told"], shape), bool(raw["words"]))
        )


def outputs_of(classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return what each number about the target stands for: nothing to say of a single one, or the class."""
    if classes is None or len(classes) == 2:
        return ("",)
    if len(classes) <= MAXIMUM_OUTPUTS:
        return tuple(f": {label}" for label in classes)
    return tuple(f": classes {n + 1}, {n + 1 + MAXIMUM_OUTPUTS}, …" for n in range(MAXIMUM_OUTPUTS))


def names(with_words: bool, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return what the numbers of a column are, in order.

    Example:
        >>> names(True, ("no", "yes"))
        ('frequency', 'length', 'words')
    """
    kinds = ("frequency", "length") if with_words else ("frequency",)
    return (*kinds, *(f"{'words' if with_words else 'target'}{output}" for output in outputs_of(classes)))


def _packed(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a number is not finite")
    return values.reshape(shape)
