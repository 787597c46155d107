"""Which values an earlier release read otherwise, so that rows were split by other hashes than today's.

Before one table of rules read every value, a 32-bit float meant what it widens to, and floats, decimals and
moments were written otherwise where a column holds texts. Only contracts of then need to know: where a
contract says what it splits by, its first model was split by today's reading.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from dropforge.adapters.tables.blocks import Block
from dropforge.adapters.tables.buffers import extremes
from dropforge.domain.contract import Contract
from dropforge.domain.row_rules import MISSING_SPELLINGS

_EXACT_DIGITS = 15
"""Decimals of so many digits pass through a float unharmed."""
_NANOSECONDS = 2**63 // 1000
"""Microseconds from 1970 beyond which nanoseconds, which INT96 was read as, wrap around."""


def read_otherwise(block: Block, contract: Contract) -> Collection[str]:
    """Return the columns that decide on a row's split and may hold other values than were read of old."""
    if contract.split_by is not None:
        return ()
    names = [column.name for column in contract.columns] if contract.key is None else [contract.key]
    return [name for name in names if name in block.columns and _differs(name, block, contract)]


def _differs(name: str, block: Block, contract: Contract) -> bool:
    column, native = contract.column(name), block.columns[name].type
    holds_text = column.role == "ignored" or column.type in ("category", "text")
    if (
        column.missing is None
        and contract.reader(name).missing != MISSING_SPELLINGS
        and name != contract.target
    ):
        return True  # A category such as NA was a missing value.
    if holds_text:
        is_moment = pa.types.is_timestamp(native) or pa.types.is_date(native)
        # Of JSON, whose rows name their columns, it is known which numbers are written otherwise.
        is_number = not block.names and (pa.types.is_floating(native) or pa.types.is_decimal(native))
        return is_moment or is_number or name in block.rewritten
    if column.type == "number":
        # Of decimals the last digit: see `widened`.
        return pa.types.is_float16(native) or pa.types.is_float32(native) or pa.types.is_decimal(native)
    if column.type == "integer":
        return pa.types.is_decimal(native) and native.precision > _EXACT_DIGITS
    if column.type == "timestamp" and pa.types.is_timestamp(native) and native.unit == "us":
        reach = extremes(block.columns[name].cast(pa.int64()))
        return reach is not None and max(map(abs, reach)) > _NANOSECONDS
    return False
