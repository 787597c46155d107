"""Arrays on local disk that grow at their end and are read by slices, so that they never are in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class ArrayFile:
    """An array of one dimension in a file.

    Args:
        path: a file that doesn't exist yet.
        dtype: of the items.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._path, self._dtype = path, np.dtype(dtype)
        self._file = path.open("wb")
        self._length = 0

    def append(self, items: npt.NDArray[Any]) -> None:
        """Add items at the end."""
        self._file.write(np.ascontiguousarray(items, dtype=self._dtype).data)
        self._length += len(items)

    def close(self) -> None:
        """Write out what was appended; safe to call again."""
        self._file.close()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self._length)
        count = max(0, stop - start)
        return np.fromfile(self._path, self._dtype, count, offset=start * self._dtype.itemsize)
