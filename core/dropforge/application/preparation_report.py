"""``report.json`` and ``profile.json``: what happened to the rows, and what the kept ones look like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dropforge.domain.contract import Contract
from dropforge.domain.drift.baseline import column_of, packed
from dropforge.domain.preparing import CheckCounts, SplitCounts, Written
from dropforge.domain.profile import FORMAT as PROFILE_FORMAT
from dropforge.domain.splitting import SPLITS

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
    counts: CheckCounts = field(default_factory=CheckCounts)
    duplicates: int = 0
    splits: SplitCounts | None = None
    failure: Exception | None = None

    @property
    def kept(self) -> int | None:
        """Rows in the splits; None while nobody knows."""
        return None if self.splits is None else sum(self.splits.rows.values())

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
                "rows": {
                    "read": counts.read,
                    "rejected": counts.rejected,
                    "duplicates": self.duplicates,
                    "kept": self.kept,
                },
                "objects": [
                    {"source": source, "read": each.read, "rejected": each.rejected}
                    for source, each in counts.objects.items()
                ],
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
                        "examples": [example.to_dict() for example in reason.examples],
                    }
                    for rule, column, reason in counts.top_reasons()[:_REASONS_REPORTED]
                ],
            }
        )


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
