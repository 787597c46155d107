"""The prepared rows as a training job reads them: features piece by piece, targets as codes or values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import inference
from dropforge.domain.contract import GROUP_KEY, ROW_KEY, Contract
from dropforge.domain.encoding import ColumnArrays, Encoding, Labels
from dropforge.domain.errors import ConstantTarget, TooFewRows, UnsuitableTarget
from dropforge.domain.slicing import Slicing
from folders import Folders
from peers import Peers
from raw_columns import RawColumns

if TYPE_CHECKING:
    import pyarrow

TYPES = tuple(inference.PARQUET_TYPES)
"""Types of features."""


SLICING_ROWS = 200_000


@dataclass(frozen=True)
class Split:
    """A prepared split: where its rows are, and what of them is kept in memory.

    Attributes:
        target: class codes, of as few bytes as hold them, or float64 values: (n,).
        row_key: uint64 (n,); empty for the training rows, which nobody asks for.
    """

    folder: Path
    contract: Contract
    target: NDArray[Any]
    row_key: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.target)

    def batches(self, types: Collection[str] = TYPES) -> Iterator[ColumnArrays]:
        """Yield the features of those types piece by piece, as column arrays."""
        names = [column.name for column in self.contract.features if column.type in types]
        if names:
            for batch in inference.batches_of_split(self.folder, self.contract, names):
                yield inference.columns_of(batch, self.contract)

    def columns_at(self, rows: NDArray[np.intp]) -> ColumnArrays:
        """Return the features of a few rows, in ascending order, as column arrays; of categories objects."""
        found: dict[str, list[NDArray[Any]]] = {column.name: [] for column in self.contract.features}
        for batch, places in pieces_at(rows, self.batches()):
            for name, values in batch.items():
                each = values.take(places)
                found[name].append(each.to_objects() if isinstance(each, Labels) else each)
        return {name: np.concatenate(parts) for name, parts in found.items()}


class Rows:
    """The encoded rows of splits, one split after the other: a matrix whose values are read when asked for.

    ``np.asarray`` of it is the matrix itself, float64 (n, n_columns) with NaN for missing.

    Args:
        own: of rows that the encoding was learned from, what `text_learning.learn` says of them.
        kept: which of the splits' rows these are; by default all.
    """

    def __init__(
        self,
        encoding: Encoding | RawColumns,
        splits: Sequence[Split],
        own: Mapping[str, NDArray[np.float32]] | None = None,
        kept: NDArray[np.bool_] | None = None,
    ) -> None:
        self._encoding, self._splits, self._own, self._kept = encoding, tuple(splits), own, kept
        rows = sum(map(len, splits)) if kept is None else int(np.count_nonzero(kept))
        self.shape = (rows, len(encoding.columns))

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self) -> Iterator[Any]:
        """Yield the matrix in pieces of consecutive rows, or a DataFrame of the columns themselves."""
        end = 0
        for columns in features_of(self._splits, TYPES):
            start, end = end, end + len(columns[self._encoding.contract.features[0].name])
            own = self._own and {name: numbers[start:end] for name, numbers in self._own.items()}
            matrix = self._encoding.encode(columns, own)
            yield matrix if self._kept is None else matrix[self._kept[start:end]]

    def take(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return those rows of the matrix, in the order asked for; any may come several times."""
        order = np.argsort(rows, kind="stable")
        taken = np.empty((len(rows), self.shape[1]))
        done = 0
        for matrix, places in pieces_at(rows[order], self.batches()):
            taken[order[done : done + len(places)]] = matrix[places]
            done += len(places)
        return taken

    def only(self, kept: NDArray[np.bool_]) -> Rows:
        """Return those rows of them; `kept` is (n,)."""
        if self._kept is not None:
            kept, inner = self._kept.copy(), kept
            kept[kept] = inner
        return Rows(self._encoding, self._splits, self._own, kept)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float64]:
        matrix = np.empty(self.shape)
        start = 0
        for each in self.batches():
            matrix[start : start + len(each)] = each
            start += len(each)
        return matrix


def features_of(splits: Iterable[Split], types: Collection[str]) -> Iterator[ColumnArrays]:
    """Yield the features of those types piece by piece, one split after the other."""
    for split in splits:
        yield from split.batches(types)


def pieces_at(rows: NDArray[np.intp], pieces: Iterable[Any]) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    """Yield each piece that holds some of the rows, which ascend, with their places in it."""
    start = 0
    for piece in pieces:
        length = len(next(iter(piece.values()))) if isinstance(piece, Mapping) else len(piece)
        first, after = np.searchsorted(rows, [start, start + length])
        if after > first:
            yield piece, rows[first:after] - start
        start += length


def read_splits(
    folders: Folders, contract: Contract, peers: Peers | None = None
) -> tuple[Split, Split, Split]:
    """Read the training, validation and hold-out rows; note how many training rows each host has.

    Of several hosts, each has training rows of its own, or none, and all of the others.

    Raises:
        ConstantTarget: the training rows are all of one class.
        TooFewRows, UnsuitableTarget: see `read_split`.
    """
    peers = peers or Peers.alone()
    training, validation, holdout = (
        read_split(folders, name, contract, name != "train", name == "train" and peers.several)
        for name in ("train", "validation", "test")
    )
    ends = training.target[:0].tolist()
    if len(training):
        ends = [training.target.min().item(), training.target.max().item()]
    told = peers.exchange_json([len(training), ends])
    peers.rows = [rows for rows, _ in told]
    if not any(peers.rows):
        raise TooFewRows("the split 'train' has no rows; drop more data.")
    if contract.classes is not None and len({code for _, both in told for code in both}) == 1:
        raise ConstantTarget(
            f"every training row has the same {contract.target!r}; there is nothing to learn."
        )
    return training, validation, holdout


def read_split(
    folders: Folders, name: str, contract: Contract, keys: bool = True, may_be_empty: bool = False
) -> Split:
    """Read a channel of prepared Parquet.

    Args:
        may_be_empty: whether there may be no rows, and no file either.

    Raises:
        TooFewRows: it has none.
        UnsuitableTarget: the target is missing in a row or is no class of the contract.
    """
    folder = folders.channel(name)
    targets: list[NDArray[Any]] = []
    row_keys = [np.empty(0, dtype=np.uint64)]
    if may_be_empty and not (folder.is_dir() and any(folder.iterdir())):
        return Split(folder, contract, np.empty(0), row_keys[0])
    for batch in inference.batches_of_split(
        folder, contract, [contract.target, *([ROW_KEY] if keys else [])]
    ):
        targets.append(_target_of(batch, name, contract))
        if keys:
            row_keys.append(inference.row_keys_of(batch).copy())
    target = np.concatenate(targets)
    if not len(target) and not may_be_empty:
        raise TooFewRows(f"the split {name!r} has no rows; drop more data.")
    return Split(folder, contract, target, np.concatenate(row_keys))


def _target_of(batch: pyarrow.RecordBatch, name: str, contract: Contract) -> NDArray[Any]:
    values = batch.column(contract.target)
    if contract.classes is None:
        target = inference.numbers_of(values)
        if not np.isfinite(target).all():
            raise UnsuitableTarget(f"{name}: target {contract.target!r} is missing or not finite in a row.")
        return target.copy()
    labels = inference.labels_of(values)
    known = {label: float(code) for code, label in enumerate(contract.classes)}
    codes = labels.mapped(known, -1.0, -1.0)
    if (codes < 0).any():
        unknown = sorted(set(map(str, labels.take(np.flatnonzero(codes < 0)).to_objects())))
        raise UnsuitableTarget(
            f"{name}: target {contract.target!r} holds {unknown[:5]}, no classes of the contract."
        )
    return codes.astype(np.min_scalar_type(len(contract.classes)))


def groups_of(channel: Path) -> NDArray[np.int64]:
    """Return the group of each of a channel's rows, numbered from 0, in their order: int64 (n,)."""
    keys = inference.read_columns(channel, [GROUP_KEY]).column(GROUP_KEY).to_numpy()
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def all_groups(folders: Folders, contract: Contract) -> NDArray[np.int64] | None:
    """Return the groups of the training rows, numbered from 0, and then those of the validation rows.

    None where the contract knows no groups.
    """
    if contract.group is None:
        return None
    training, validation = (groups_of(folders.channel(split)) for split in ("train", "validation"))
    return np.concatenate([training, validation + training.max() + 1])


def guarded_slices(folders: Folders, contract: Contract, peers: Peers) -> list[tuple[Slicing, NDArray[Any]]]:
    """Return how each guarded column is sliced, by its training rows, and its values in the hold-out.

    Of several hosts' training rows SLICING_ROWS evenly spaced ones are looked at.
    """
    found = []
    for name in contract.guarded:
        kind = contract.column(name).type
        training, test = (
            inference.read_columns(folders.channel(split), [name]).column(name).combine_chunks()
            for split in ("train", "test")
        )
        if kind == "category":
            training, test = (inference.labels_of(values).to_objects() for values in (training, test))
        else:
            training, test = inference.numbers_of(training), inference.numbers_of(test)
        if peers.several:
            every = -(-sum(peers.rows) // SLICING_ROWS)
            told = [
                np.array(each, training.dtype) for each in peers.exchange_json(training[::every].tolist())
            ]
            training = np.concatenate(told)
        found.append((Slicing.learn(name, kind, training), test))
    return found


def times_of(channel: Path, contract: Contract) -> NDArray[Any]:
    """Return the times of a channel's rows, in their order: float64 or int64 (n,), of dates microseconds.

    Args:
        contract: says which column they are in.
    """
    import pyarrow  # noqa: PLC0415 - as `inference.read_columns` does

    name = contract.time or ""
    values = inference.read_columns(channel, [name]).column(name)
    if pyarrow.types.is_timestamp(values.type):
        values = values.cast(pyarrow.int64())
    return values.to_numpy()


def seen_until(folders: Folders, contract: Contract, peers: Peers) -> int | float | None:
    """Return the newest time that this job learns from; None where rows aren't split by time."""
    if contract.time is None:
        return None
    newest = max(times_of(folders.channel(name), contract).max() for name in ("train", "validation"))
    return max(peers.exchange_json(newest.item()))


def joined(first: Split, second: Split) -> tuple[tuple[Split, Split], NDArray[Any]]:
    """Return both splits, without the keys of their rows, and the targets of both, which they share."""
    target = np.concatenate([first.target, second.target])
    parts = np.split(target, [len(first)])
    none = np.empty(0, dtype=np.uint64)
    one, other = (
        replace(each, target=part, row_key=none) for each, part in zip((first, second), parts, strict=True)
    )
    return (one, other), target
