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
from dropforge.domain.splitting import Origin, UInt64
from dropforge.domain.time_split import Placing, Times

Counts = list[list[int]]
"""Rows per split and class, [3][n_classes]; of a regression, [3][1]."""


@dataclass(frozen=True, slots=True)
class NumberedOrigin:
    """Where successive rows of an item come from; `number` is the object's (see `Span`)."""

    number: int
    origin: Origin

    def to_list(self) -> list[Any]:
        return [self.number, self.origin.source, self.origin.before, self.origin.rows]

    @classmethod
    def from_list(cls, raw: Sequence[Any]) -> NumberedOrigin:
        return cls(raw[0], Origin(*raw[1:]))


@dataclass(frozen=True, slots=True)
class Reduced:
    """What `find_repeated` found in one range of hashes.

    Attributes:
        repeated: rows that are left out.
        left_out: the same by the number of their object.
        counts: the rows that remain.
        twins: as `Twins` travels.
        groups: as `GroupTally` travels.
        held_back: rows that go to no split, see `SplitCounts.left_out`.
    """

    repeated: int
    left_out: Mapping[int, int]
    counts: Counts
    twins: list[list[int]]
    groups: list[list[int]] = field(default_factory=list)
    held_back: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "repeated": self.repeated,
            "left_out": list(self.left_out.items()),
            "counts": self.counts,
            "twins": self.twins,
            "groups": self.groups,
            "held_back": self.held_back,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Reduced:
        # An item of the release before counted no groups.
        later = raw.get("groups", []), raw.get("held_back", 0)
        return cls(raw["repeated"], dict(raw["left_out"]), raw["counts"], raw["twins"], *later)


@dataclass(frozen=True)
class CheckedItem:
    """What checking an item leaves behind beside its files.

    Attributes:
        spans: what was found in each, up to the one that can't be used.
        files: how many rows each file of staged rows holds.
        reject_files: how many files of rejected rows there are.
        combinations: as `Combinations.seen`.
    """

    spans: Sequence[SpanCheck]
    files: Sequence[int] = ()
    reject_files: int = 0
    combinations: Sequence[int] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "spans": [
                {"counts": span.counts.to_dict(), "names": None if span.names is None else list(span.names)}
                for span in self.spans
            ],
            "files": list(self.files),
            "reject_files": self.reject_files,
            "combinations": list(self.combinations),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> CheckedItem:
        spans = [SpanCheck(CheckCounts.from_dict(each["counts"]), each["names"]) for each in raw["spans"]]
        return cls(spans, raw["files"], raw["reject_files"], raw["combinations"])


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
        self, item: Item, contract: Contract, folder_uri: str, ranges: int, sample_size: int
    ) -> tuple[CheckedItem, DataError | None]:
        """Check an item's rows, and stage them with their keys, sorted into `ranges` ranges of hashes.

        Without a key, as many hashes of each object are remembered as `sample_size` says.

        Returns:
            The counts; and the error that ended it, if a span can't be used.
        """
        ...

    def outline(self, folder_uris: Sequence[str], contract: Contract) -> bytes:
        """Say of all checked items together how their columns are to be profiled."""
        ...

    def find_recurrences(
        self, folder_uris: Sequence[str], numbers: Sequence[Sequence[int]]
    ) -> dict[int, int]:
        """Find the objects that are contained in a later one, see `dropforge.domain.recurrence`.

        Args:
            numbers: per checked item the numbers of its spans' objects.
        """
        ...

    def find_repeated(
        self,
        folder_uris: Sequence[str],
        number: int,
        ranges: int,
        contract: Contract,
        origins: Sequence[Sequence[NumberedOrigin]],
        recurrences: Mapping[int, int],
        into_uri: str,
        placing: Placing | None = None,
    ) -> Reduced:
        """Find the rows that come again, for one range of hashes, and count those that remain.

        Where time decides on the split, leave their times for `times`; or once these led to a placing, the
        groups that the test has, for `held`.
        """
        ...

    def times(self, uris: Sequence[str]) -> Times:
        """Return the times that `find_repeated` left at these places."""
        ...

    def held(self, uris: Sequence[str]) -> UInt64:
        """Return the groups that `find_repeated` left at these places, ascending, each once: uint64 (n,)."""
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
        origins: Sequence[NumberedOrigin],
        outline: bytes,
        prefix_uri: str,
        into_uri: str,
        placing: Placing | None = None,
    ) -> None:
        """Write an item's remaining rows to the splits, and what `merged` has to know of them."""
        ...

    def merged(
        self, folder_uris: Sequence[str], splits: SplitCounts, contract: Contract, outline: bytes
    ) -> Written:
        """Put together what `write` left of all items."""
        ...
