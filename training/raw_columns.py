"""The contract's columns as they are, for a pipeline of one's own: a pandas DataFrame instead of the matrix.

``INPUT = "columns"`` in ``model.py`` asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dropforge.domain.contract import Contract
from dropforge.domain.encoding import ColumnArrays, Labels, MatrixColumn
from dropforge.domain.errors import UnusableEstimator

if TYPE_CHECKING:
    import pandas

FORMAT = 3
"""Of encoding.json: nothing is encoded."""

MATRIX, COLUMNS = "matrix", "columns"


@dataclass(frozen=True)
class RawColumns:
    """Stands where a model has an `Encoding`; its "matrix" is a DataFrame.

    Attributes:
        vocabularies: the most frequent values of each category column, for the job's slices. They aren't
            stored.
    """

    contract: Contract
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[MatrixColumn, ...]:
        """One per feature, in the contract's order."""
        return tuple(MatrixColumn(each.name, each.name, each.type) for each in self.contract.features)

    def encode(self, columns: ColumnArrays, own: object = None) -> pandas.DataFrame:
        """Return column arrays of n rows as a DataFrame (n, n_features), numbered from 0.

        ``number``, ``integer`` and ``boolean`` are float64, since any may lack values; ``timestamp`` is
        datetime64[us, UTC]; ``category`` and ``text`` are objects, str. A missing value is NaN or NaT. Types
        don't depend on the rows: one row of a request has those of the training rows. `own`, what an
        `Encoding` learned of texts, is nothing here.
        """
        import pandas as pd  # noqa: PLC0415 - other models serve without it

        return pd.DataFrame(
            {each.name: _series(each.type, columns[each.name]) for each in self.contract.features}
        )

    def to_json(self) -> str:
        """Return what encoding.json holds."""
        return json.dumps({"format": FORMAT, "input": COLUMNS}) + "\n"


def is_raw(text: bytes) -> bool:
    """Whether an encoding.json is that of a model which reads the columns themselves."""
    try:
        raw = json.loads(text)
    except ValueError:
        return False
    return isinstance(raw, dict) and raw.get("format") == FORMAT and raw.get("input") == COLUMNS


def wants_columns(model: ModuleType) -> bool:
    """Whether ``model.py`` asks for the columns themselves.

    Raises:
        UnusableEstimator: its INPUT is unknown.
    """
    wanted = getattr(model, "INPUT", MATRIX)
    if wanted not in (MATRIX, COLUMNS):
        raise UnusableEstimator(f"INPUT in model.py must be {MATRIX!r} or {COLUMNS!r}, not {wanted!r}.")
    return bool(wanted == COLUMNS)


def frame_of(pieces: Iterable[pandas.DataFrame]) -> pandas.DataFrame:
    """Return pieces of rows as one DataFrame."""
    import pandas as pd  # noqa: PLC0415 - see above

    return pd.concat(list(pieces), ignore_index=True)


def rows_of(table: Any, rows: Any) -> Any:
    """Return rows of a matrix, or of a DataFrame numbered from 0 again."""
    return table.iloc[rows].reset_index(drop=True) if hasattr(table, "iloc") else table[rows]


def put(table: Any, places: list[int], source: Any, order: Any = slice(None)) -> None:
    """Replace columns of a matrix or a DataFrame by those of another one, its rows in that order."""
    if hasattr(table, "iloc"):
        for name in table.columns[places]:
            table[name] = rows_of(source[[name]], order)[name]
    else:
        table[:, places] = source[:, places][order]


def _series(kind: str, values: Any) -> pandas.Series[Any]:
    import pandas as pd  # noqa: PLC0415 - see above

    if kind in ("category", "text"):
        values = values.to_objects() if isinstance(values, Labels) else values
        missing = np.array([value is None for value in values], dtype=bool)
        return pd.Series(np.where(missing, np.nan, values), dtype=object)
    if kind == "timestamp":
        known = np.isfinite(values)
        dates = np.full(len(values), "NaT", dtype="datetime64[us]")
        dates[known] = np.round(values[known]).astype(np.int64).view("datetime64[us]")
        return pd.Series(dates).dt.tz_localize("UTC")
    return pd.Series(values, dtype=np.float64)
