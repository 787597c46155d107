"""Whose rows: a value of the contract's key column, in whatever form a file or a log has it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from dropforge.domain.contract import NUMERIC_TYPES, Column
from dropforge.domain.predictions import pseudonym


@dataclass(frozen=True)
class Subject:
    """One key.

    Attributes:
        column: the contract's key column.
        key: its value, as the user gave it.
    """

    column: Column
    key: str

    @property
    def is_numeric(self) -> bool:
        return self.column.type in NUMERIC_TYPES

    def matches(self, value: Any) -> bool:
        """Whether a value of the key column is this key; numbers match by value, texts to the letter.

        >>> subject = Subject(Column("id", "integer", "key"), "17")
        >>> [subject.matches(value) for value in (17, 17.0, "17", " 17", 18, None)]
        [True, True, True, True, False, False]
        """
        if value is None or isinstance(value, bool):
            return False
        if not self.is_numeric:
            return str(value) == self.key
        mine, other = _number(self.key), _number(value)
        return mine is not None and mine == other

    def texts(self) -> Iterator[str]:
        """The forms that the key may have as JSON in the prediction log, without quotes."""
        yield self.key
        number = _number(self.key) if self.is_numeric else None
        if number is not None and number == int(number):
            yield str(int(number))
            yield f"{int(number)}.0"

    def pseudonyms(self, salt: bytes) -> set[str]:
        """What stands for the key in the log where the contract has its column hashed."""
        return {digest for text in self.texts() if (digest := pseudonym(text, salt))}


def _number(value: Any) -> Decimal | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
