"""``report.json`` and ``profile.json``: what happened to the rows, and what the kept ones look like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dropforge.domain.contract import Contract
from dropforge.domain.drift.baseline import column_of, packed
from dropforge.domain.figures import percent
from dropforge.domain.leakage import Leak
from dropforge.domain.preparing import CheckCounts, Duplicates, SplitCounts, Written
from dropforge.domain.profile import FORMAT as PROFILE_FORMAT
from dropforge.domain.splitting import SPLITS
from dropforge.domain.time_split import Boundaries

REPORT_FORMAT = 1
_REASONS_REPORTED = 100


@dataclass
class Report:
    """What happened to the rows; the same whenever the run is repeated, so it holds no time."""

    run_id: str
    contract: Contract
    notes: tuple[str, ...] | None
    """What inference remarked; None where the contract was pinned before."""
    data_version: str
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Per column the texts that were read as missing, with their counts."""
    counts: CheckCounts = field(default_factory=CheckCounts)
    duplicates: Duplicates = field(default_factory=Duplicates)
    replaced: tuple[str, ...] = ()
    """Objects that are not read, because a newer version of each is."""
    filled: tuple[tuple[str, ...], str | None] | None = None
    """Columns that said nothing in the first drop and do now, and the command that takes them in, if any."""
    splits: SplitCounts | None = None
    failure: Exception | None = None
    boundaries: Boundaries | None = None
    """Where rows are split in time, where that decides."""
    later_than_now: int = 0
    leaks: tuple[Leak, ...] = ()

    @property
    def kept(self) -> int | None:
        """Rows in the splits; None while nobody knows."""
        return None if self.splits is None else sum(self.splits.rows.values())

    def _remarks(self) -> Iterable[str]:
        """What people should know of these rows, whether or not the contract is new."""
        for each in self.duplicates.recurrences:
            yield (
                f"{each.later} holds {each.rows} rows of {each.source} again, so it is taken for the same "
                "data, exported again, and these rows count once. Set IdColumn to the column that identifies "
                "rows, so that newer rows replace older ones."
            )
        for source in self.replaced:
            yield f"{source} is not read: a newer version of the object replaces its rows."
        if self.filled is not None:
            names, command = self.filled
            yield (
                f"{', '.join(map(repr, names))}: ignored, because the first drop had nothing to learn "
                "there, and filled by these drops. "
                + (
                    "Give it its type and the role feature in contract/schema.json to take it in."
                    if command is None
                    else f"Take it in with: {command}"
                )
            )
        if self.counts.unlabelled:
            yield (
                f"{self.counts.unlabelled:,} of {self.counts.read:,} rows have no {self.contract.target!r}; "
                "there is nothing to learn from them, so they are left out."
            )
        yield from self._remarks_on_split()
        twins = None if self.splits is None else self.splits.twin_share
        if twins:
            yield (
                f"{percent(twins)} of the test rows have an equal among the training rows, because so few "
                "different rows exist; the metrics say how well the model knows such rows, not how it does "
                "on others."
            )

    def _remarks_on_split(self) -> Iterable[str]:
        contract, splits = self.contract, self.splits
        if splits is not None and splits.left_out:
            yield (
                f"{splits.left_out:,} rows are older than the test and go to no split, because their groups "
                f"({contract.group!r}) occur in the test."
            )
        yield from (f"{leak.said}." if leak.said[-1] != "?" else leak.said for leak in self.leaks)
        if self.later_than_now:
            yield (
                f"{self.later_than_now:,} rows are later than now by {contract.time!r}; they are among those "
                "that test the model."
            )

    def _deciding_columns(self) -> dict[str, Any]:
        """What is known of the columns that decide on the split, but for those of `split_by`."""
        contract, found = self.contract, dict[str, Any]()
        if contract.group is not None:
            found |= {"group": contract.group, "groups": self.splits and self.splits.groups}
        if contract.time is not None:
            found["left_out"] = self.splits and self.splits.left_out
            if self.boundaries is not None:
                column = contract.column(contract.time)
                found["boundaries"] = self.boundaries.to_dict(column.name, column.type)
        return found

    def _missing(self) -> dict[str, dict[str, int]]:
        """Of a first drop all columns; of later ones those that are used. In the texts' order."""
        found = self.counts.missing if self.notes is None else self.missing
        return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}

    def to_json(self) -> bytes:
        counts = self.counts
        return _json(
            {
                "format": REPORT_FORMAT,
                "run_id": self.run_id,
                "accepted": self.failure is None,
                "failure": None
                if self.failure is None
                else {"type": type(self.failure).__name__, "message": str(self.failure)},
                "data_version": self.data_version,
                "contract_hash": self.contract.hash,
                "contract_is_new": self.notes is not None,
                "notes": list(self.notes or ()),
                "remarks": list(self._remarks()),
                "rows": {
                    "read": counts.read,
                    "rejected": counts.rejected,
                    "unlabelled": counts.unlabelled,
                    "duplicates": self.duplicates.rows,
                    "kept": self.kept,
                },
                "objects": [
                    {
                        "source": source,
                        "read": each.read,
                        "rejected": each.rejected,
                        "unlabelled": each.unlabelled,
                        "duplicates": self.duplicates.objects.get(source, 0),
                    }
                    for source, each in counts.objects.items()
                ],
                "missing": self._missing(),
                "replaced": list(self.replaced),
                "recurrences": [asdict(each) for each in self.duplicates.recurrences],
                "split": {
                    "by": _deciding(self.contract),
                    "twin_share": None if self.splits is None else self.splits.twin_share,
                    **self._deciding_columns(),
                },
                "leaks": [leak.to_dict() for leak in self.leaks],
                "splits": None
                if self.splits is None
                else {
                    split: {"rows": self.splits.rows[split], "classes": self.splits.classes[split]}
                    for split in SPLITS
                },
                "rejects": [
                    {
                        "rule": rule,
                        "column": column,
                        "count": reason.count,
                        "examples": [asdict(example) for example in reason.examples],
                    }
                    for rule, column, reason in counts.top_reasons()[:_REASONS_REPORTED]
                ],
            }
        )


def _deciding(contract: Contract) -> str | list[str]:
    """What decides which split a row goes to, as the report says it."""
    if contract.time is not None:
        return f"time {contract.time}"
    if contract.group is not None:
        return [contract.group]
    if contract.splits_by_key:
        return f"key {contract.key}"
    if contract.split_by is None:
        return "all columns"
    return list(contract.split_by) or "row"


def profile_json(written: Written, contract: Contract, data_version: str) -> bytes:
    """Return ``profile.json``."""
    rows, columns = written.profile.rows, written.profile.columns
    entries = [
        {"name": c.name, "type": c.type, "role": c.role, **columns[c.name].to_dict()}
        for c in contract.prepared
        # The profile goes where the model goes; the log has nothing to compare with such a column anyway.
        if c.name in columns and c.privacy != "drop"
    ]
    for entry in entries:
        if entry["type"] == "text":
            # What people wrote goes no farther than the rows; how much of it is missing is what is watched.
            entry |= {"categories": [], "other": entry["count"]}
        if entry["name"] in written.sample:
            entry["sample"] = packed(column_of(entry).codes(written.sample[entry["name"]]))
    return _json(
        {
            "format": PROFILE_FORMAT,
            "rows": rows,
            "data_version": data_version,
            "contract_hash": contract.hash,
            "columns": entries,
        }
    )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
