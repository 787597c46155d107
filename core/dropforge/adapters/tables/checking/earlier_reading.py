"""Which values an earlier release read otherwise, so that rows were split by other hashes than today's.

The first reading is that of releases before one table of rules: a 32-bit float meant what it widens to, and
floats, decimals and moments were written otherwise where a column holds texts. The second is the table's own
at first, when decimals became numbers by Arrow's cast. `dropforge.domain.values.READING` numbers today's.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from dropforge.adapters.tables.buffers import extremes
from dropforge.adapters.tables.reading.blocks import Block
from dropforge.domain.contract import Contract
from dropforge.domain.row_rules import MISSING_SPELLINGS

_EXACT_DIGITS = 15
"""Decimals of so many digits pass through a float unharmed."""
_NANOSECONDS = 2**63 // 1000
"""Microseconds from 1970 beyond which nanoseconds, which INT96 was read as, wrap around."""


_OF_TEXTS, _OF_DECIMALS = 1, 2


def read_otherwise(block: Block, contract: Contract) -> Mapping[str, int]:
    """Return the columns that decide on a row's split and may hold other values than were read of old.

    Returns:
        The last reading that was another, by column. Where a contract says what it splits by, its first model
        was split by the second one at the earliest.
    """
    if contract.group is not None or contract.time is not None:
        return {}  # No earlier release split by groups or by time.
    if contract.split_by is not None:
        names = contract.split_by or tuple(column.name for column in contract.features)
    elif contract.key is not None:
        names = (contract.key,)
    else:
        names = tuple(column.name for column in contract.columns)
    found = {}
    for name in names:
        if name not in block.columns:
            continue
        if _reads_other_decimals(name, block, contract):
            found[name] = _OF_DECIMALS
        elif contract.split_by is None and _differs(name, block, contract):
            found[name] = _OF_TEXTS
    return found


def _reads_other_decimals(name: str, block: Block, contract: Contract) -> bool:
    """Whether the last digit may differ: see `widened`."""
    column = contract.column(name)
    is_number = column.type == "number" and column.role != "ignored"
    return is_number and pa.types.is_decimal(block.columns[name].type)


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
        return pa.types.is_float16(native) or pa.types.is_float32(native)
    if column.type == "integer":
        return pa.types.is_decimal(native) and native.precision > _EXACT_DIGITS
    if column.type == "timestamp" and pa.types.is_timestamp(native) and native.unit == "us":
        reach = extremes(block.columns[name].cast(pa.int64()))
        return reach is not None and max(map(abs, reach)) > _NANOSECONDS
    return False
