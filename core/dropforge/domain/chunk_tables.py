"""What preparation in many functions asks of the table machinery, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dropforge.domain.chunks import Cut, Item, Scan, Span
from dropforge.domain.contract import Contract
from dropforge.domain.drop_totals import SpanCheck, SpanSurvey
from dropforge.domain.errors import DataError
from dropforge.domain.ports import ObjectRef
from dropforge.domain.preparing import CheckCounts, SplitCounts, Written

Counts = list[list[int]]
"""Rows per split and class, [3][n_classes]; of a regression, [3][1]."""


@dataclass(frozen=True)
class CheckedItem:
    """What checking an item leaves behind beside its files.

    Attributes:
        spans: what was found in each, up to the one that can't be used.
        files: how many rows each file of staged rows holds.
        rows: how many rows there are, duplicates included.
        reject_files: how many files of rejected rows there are.
    """

    spans: Sequence[SpanCheck]
    files: Sequence[int] = ()
    rows: Counts = field(default_factory=list)
    reject_files: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "spans": [
                {"counts": span.counts.to_dict(), "names": None if span.names is None else list(span.names)}
                for span in self.spans
            ],
            "files": list(self.files),
            "rows": self.rows,
            "reject_files": self.reject_files,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> CheckedItem:
        spans = [SpanCheck(CheckCounts.from_dict(each["counts"]), each["names"]) for each in raw["spans"]]
        return cls(spans, raw["files"], raw["rows"], raw["reject_files"])


class ChunkTables(Protocol):
    """The machinery that works on chunks. Whatever it writes lies under the folder that it is given.

    Folders are URIs with their final slash. Every method is safe to repeat: it writes the same again.
    """

    def cut(self, ref: ObjectRef, chunk_bytes: int) -> Cut:
        """Find out how an object may be cut. One that can't be read is one span: reading it will say why."""
        ...

    def scan(self, span: Span) -> Scan:
        """Follow the quotes through a span with rough bounds."""
        ...

    def survey(self, span: Span) -> SpanSurvey:
        """Examine a span's rows. Raises what `Tables.survey` raises of one object."""
        ...

    def check(
        self, item: Item, contract: Contract, folder_uri: str, ranges: int
    ) -> tuple[CheckedItem, DataError | None]:
        """Check an item's rows, and stage them with their keys, sorted into `ranges` ranges of hashes.

        Returns:
            The counts; and the error that ended it, if a span can't be used.
        """
        ...

    def outline(self, folder_uris: Sequence[str], contract: Contract) -> bytes:
        """Say of all checked items together how their columns are to be profiled."""
        ...

    def find_repeated(
        self, folder_uris: Sequence[str], number: int, ranges: int, contract: Contract, into_uri: str
    ) -> tuple[int, Counts]:
        """Find the rows whose key comes again further down, for one range of hashes.

        Returns:
            How many there are; and where they would have gone.
        """
        ...

    def write_rejects(
        self, folder_uri: str, files: int, rows_before: Mapping[str, int], rejected_uri: str, number: int
    ) -> None:
        """Write an item's rejected rows, numbered as in their objects. At least one file for item 0."""
        ...

    def write(
        self,
        folder_uri: str,
        checked: CheckedItem,
        repeated_uris: Sequence[str],
        number: int,
        contract: Contract,
        outline: bytes,
        prefix_uri: str,
        into_uri: str,
    ) -> None:
        """Write an item's remaining rows to the splits, and what `merged` has to know of them."""
        ...

    def merged(
        self, folder_uris: Sequence[str], splits: SplitCounts, contract: Contract, outline: bytes
    ) -> Written:
        """Put together what `write` left of all items."""
        ...
