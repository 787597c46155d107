"""The prepared rows as a training job reads them: features as columns, targets as codes or values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
from dropforge.domain.contract import GROUP_KEY, Contract
from dropforge.domain.errors import ConstantTarget, TooFewRows, UnsuitableTarget
from dropforge.domain.slicing import Slicing
from folders import Folders


@dataclass(frozen=True)
class Split:
    """A prepared split: features as column arrays, their encoding, and the target as codes or values."""

    columns: Mapping[str, NDArray[Any]]
    target: NDArray[Any]
    row_key: NDArray[np.uint64]


def read_splits(folders: Folders, contract: Contract) -> tuple[Split, Split, Split]:
    """Read the training, validation and hold-out rows.

    Raises:
        ConstantTarget: the training rows are all of one class.
        TooFewRows, UnsuitableTarget: see `read_split`.
    """
    training, validation, holdout = (
        read_split(folders, name, contract) for name in ("train", "validation", "test")
    )
    if contract.classes is not None and len(np.unique(training.target)) < 2:
        raise ConstantTarget(
            f"every training row has the same {contract.target!r}; there is nothing to learn."
        )
    return training, validation, holdout


def read_split(folders: Folders, name: str, contract: Contract) -> Split:
    """Read a channel of prepared Parquet.

    Raises:
        TooFewRows: it has none.
        UnsuitableTarget: the target is missing in a row or is no class of the contract.
    """
    table = inference.read_split(folders.channel(name), contract)
    if table.num_rows == 0:
        raise TooFewRows(f"the split {name!r} has no rows; drop more data.")
    if contract.classes is not None:
        labels = inference.labels_of(table.column(contract.target))
        codes = {label: code for code, label in enumerate(contract.classes)}
        unknown = sorted({str(label) for label in labels if label not in codes})
        if unknown:
            raise UnsuitableTarget(
                f"{name}: target {contract.target!r} holds {unknown[:5]}, no classes of the contract."
            )
        target: NDArray[Any] = np.array([codes[label] for label in labels], dtype=np.int64)
    else:
        target = inference.numbers_of(table.column(contract.target))
        if not np.isfinite(target).all():
            raise UnsuitableTarget(f"{name}: target {contract.target!r} is missing or not finite in a row.")
    return Split(inference.columns_of_table(table, contract), target, inference.row_keys_of(table))


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


def guarded_slices(folders: Folders, contract: Contract) -> list[tuple[Slicing, NDArray[Any]]]:
    """Return how each guarded column is sliced, by its training rows, and its values in the hold-out."""
    found = []
    for name in contract.guarded:
        kind = contract.column(name).type
        read = inference.labels_of if kind == "category" else inference.numbers_of
        training, test = (
            read(inference.read_columns(folders.channel(split), [name]).column(name))
            for split in ("train", "test")
        )
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


def seen_until(folders: Folders, contract: Contract) -> int | float | None:
    """Return the newest time that this job learns from; None where rows aren't split by time."""
    if contract.time is None:
        return None
    newest = max(times_of(folders.channel(name), contract).max() for name in ("train", "validation"))
    return newest.item()


def joined(first: Split, second: Split) -> Split:
    """Return the rows of both, the first's before the second's."""
    return Split(
        {name: np.concatenate([values, second.columns[name]]) for name, values in first.columns.items()},
        np.concatenate([first.target, second.target]),
        np.concatenate([first.row_key, second.row_key]),
    )
