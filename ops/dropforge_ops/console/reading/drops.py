"""What became of each dropped file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dropforge.domain.drop_life import DropState, RecordedDrop
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.stack.target import Target

SHOWN = 200
_UNTRAINED = (DropState.SET_ASIDE, DropState.WAITING)


@dataclass(frozen=True)
class DropsFound:
    """Up to `SHOWN` drops: first those that no model was trained on, then the newest; counts are of all."""

    drops: tuple[RecordedDrop, ...]
    counts: Mapping[DropState, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def read_drops(_: Target, ledger: LedgerReader) -> DropsFound:
    """Read all of them: some 3,000 of DynamoDB's read units for 20,000 drops."""
    drops = sorted(ledger.list_drops(), key=lambda each: each.order, reverse=True)
    drops.sort(key=lambda each: _UNTRAINED.index(each.state) if each.state in _UNTRAINED else len(_UNTRAINED))
    counts = Counter(each.state for each in drops)
    return DropsFound(tuple(drops[:SHOWN]), {each: counts[each] for each in DropState if counts[each]})
