"""Streams objects through survey and check, one bounded block at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dropforge.adapters.tables.checking.passes import check_table, count_block, survey_table
from dropforge.adapters.tables.reading.formats import BLOCK_BYTES, open_table
from dropforge.adapters.tables.staging.local_staging import Staging
from dropforge.adapters.tables.threads import cores
from dropforge.domain.contract import Contract
from dropforge.domain.drop_totals import DropSurvey, refuse_unusable
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import CheckCounts, ObjectCounts
from dropforge.domain.survey import TableSurvey


class StreamedTables:
    """Implements `Tables` over an object store.

    Args:
        store: where the objects are and the parts go.
        block_bytes: how much of an object to hold at once; leaves no trace in the output.
        scratch: local folder for staged rows; the system's temporary folder by default.
        workers: how many blocks to work on at once, one per core by default; leaves no trace either.
    """

    def __init__(
        self,
        store: ObjectStore,
        block_bytes: int = BLOCK_BYTES,
        scratch: Path | None = None,
        workers: int | None = None,
    ) -> None:
        self._store, self._block_bytes, self._scratch = store, block_bytes, scratch
        self._workers = workers or cores()

    def survey(self, objects: Sequence[ObjectRef], target: str) -> TableSurvey:
        drop = DropSurvey(target)
        for ref in reversed(objects):
            with open_table(self._store, ref, self._block_bytes) as table:
                seen = survey_table(table, ref.uri, self._workers)
            drop.add(ref.uri, seen)
        return drop.total

    def check(self, ref: ObjectRef, contract: Contract) -> ObjectCounts:
        counts = CheckCounts({ref.source: ObjectCounts()})
        names: dict[str, None] = {}
        with open_table(self._store, ref, self._block_bytes) as table:
            for checked in check_table(table, ref.uri, contract, self._workers):
                count_block(counts, ref.source, checked)
                names.update(dict.fromkeys(checked.names))
            named_by_rows = table.columns is None
        refuse_unusable(ref.uri, counts.read, names if named_by_rows else None, contract)
        return counts.objects[ref.source]

    @contextmanager
    def stage(self, objects: Sequence[ObjectRef], contract: Contract, rejected_uri: str) -> Iterator[Staging]:
        with tempfile.TemporaryDirectory(prefix="dropforge-", dir=self._scratch) as folder:
            staging = Staging(Path(folder), contract, self._store, rejected_uri, self._workers, len(objects))
            try:
                for ref in reversed(objects):
                    self._check(ref, contract, staging)
                staging.finish()
                yield staging
            finally:
                staging.close()

    def _check(self, ref: ObjectRef, contract: Contract, staging: Staging) -> None:
        source = ref.source
        staging.open_object(source)
        records = 0
        names: dict[str, None] = {}
        with open_table(self._store, ref, self._block_bytes) as table:
            for checked in check_table(table, ref.uri, contract, self._workers):
                records += checked.records
                names.update(dict.fromkeys(checked.names))
                staging.add(source, checked)
            named_by_rows = table.columns is None
        refuse_unusable(ref.uri, records, names if named_by_rows else None, contract)
