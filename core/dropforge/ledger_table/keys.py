"""Where each record stands in the ledger table: the one place that knows its keys.

The table has a partition key ``pk`` and a sort key ``sk``; index ``ByTime`` (``kind``, ``at``) lists runs and
model versions newest first. Pending drops have items of their own in the base table, because a drop that was
just recorded must be seen by the run that ends now, and an index is read with a delay.
"""

from __future__ import annotations

from typing import Final

from dropforge.domain.records import LockName

INDEX: Final = "ByTime"
RUN_KIND: Final = "run"
MODEL_KIND: Final = "model"
PENDING_PARTITION: Final = "PENDING"
DROP_PARTITION: Final = "DROP"
UNSETTLED_PARTITION: Final = "UNSETTLED"

Key = dict[str, str]


def drop(drop_id: str) -> Key:
    return {"pk": DROP_PARTITION, "sk": drop_id}


def pending(received_at: str, drop_id: str) -> Key:
    return {"pk": PENDING_PARTITION, "sk": f"{received_at}#{drop_id}"}


def newest(key: str) -> Key:
    """The newest known version of the object of that key; S3's keys are no longer than a sort key may be."""
    return {"pk": "OBJECT", "sk": key}


def folder_marker(key: str) -> Key:
    """When the marker was written that completes its folder."""
    return {"pk": "MARKER", "sk": key}


def source_partition(bucket: str) -> str:
    return f"SOURCE#{bucket}"


def source_file(bucket: str, key: str) -> Key:
    """What became of a file of a batch source; not by one partition, since a key may fill a sort key."""
    return {"pk": source_partition(bucket), "sk": key}


def unsettled(run_id: str) -> Key:
    """There while a run may hold drops."""
    return {"pk": UNSETTLED_PARTITION, "sk": run_id}


def lock(name: LockName) -> Key:
    return {"pk": "LOCK", "sk": str(name)}


def run(run_id: str) -> Key:
    return {"pk": "RUN", "sk": run_id}


def model(version: int) -> Key:
    return {"pk": "MODEL", "sk": f"{version:08d}"}


def history_partition(version: int) -> str:
    return f"HISTORY#{version:08d}"


def history(version: int, at: str, approval: str, stage: str) -> Key:
    """One entry per change; the same change written twice at the same instant is the same entry."""
    return {"pk": history_partition(version), "sk": f"{at}#{stage}#{approval}"}


LIVE: Final[Key] = {"pk": "LIVE", "sk": "LIVE"}

DROP_FORMAT: Final[Key] = {"pk": "FORMAT", "sk": "DROPS"}
"""In which form drops are kept; absent until those from before they had a state were looked through."""

ASLEEP: Final[Key] = {"pk": "ASLEEP", "sk": "ASLEEP"}
"""Under which promotion's token the endpoint was put to sleep."""

TRACKED: Final[Key] = {"pk": "TRACKED", "sk": "TRACKED"}
"""What runs and versions looked like when the tracker of experiments was told of all of them."""

PRIVACY_SALT: Final[Key] = {"pk": "PRIVACY", "sk": "SALT"}
"""The random key of the pseudonyms in the prediction log; made once, by whoever needs it first."""
