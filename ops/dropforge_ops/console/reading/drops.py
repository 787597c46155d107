"""What became of each dropped file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dropforge.domain.batch_source import BatchSource, FileState, SourceFile
from dropforge.domain.drop_life import DropState, RecordedDrop
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.batch_source import source_of
from dropforge_ops.stack.target import Target

SHOWN = 200
_UNTRAINED = (DropState.SET_ASIDE, DropState.WAITING)


@dataclass(frozen=True)
class DropsFound:
    """Up to `SHOWN` drops: first those that no model was trained on, then the newest; counts are of all.

    ``files`` are those of the batch source, failed ones first; ``source`` is None where the stack has none.
    """

    drops: tuple[RecordedDrop, ...]
    counts: Mapping[DropState, int]
    source: BatchSource | None = None
    files: tuple[SourceFile, ...] = ()
    file_counts: Mapping[FileState, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def read_drops(target: Target, ledger: LedgerReader) -> DropsFound:
    """Read all of them: some 3,000 of DynamoDB's read units for 20,000 drops."""
    drops = sorted(ledger.list_drops(), key=lambda each: each.order, reverse=True)
    drops.sort(key=lambda each: _UNTRAINED.index(each.state) if each.state in _UNTRAINED else len(_UNTRAINED))
    counts = Counter(each.state for each in drops)
    found = DropsFound(tuple(drops[:SHOWN]), {each: counts[each] for each in DropState if counts[each]})
    if not target.outputs.get("BatchSource"):
        return found
    source = source_of(target)
    files = sorted(ledger.source_files(source.bucket), key=lambda each: each.written_at, reverse=True)
    files.sort(key=lambda each: each.state is not FileState.FAILED)
    states = Counter(each.state for each in files)
    kept = {each: states[each] for each in FileState if states[each]}
    return replace(found, source=source, files=tuple(files[:SHOWN]), file_counts=kept)
