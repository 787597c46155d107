"""What preparation is asked for and what it answers, in one function or in many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dropforge.domain.contract import TASKS
from dropforge.domain.decision_goal import Goal, Wish
from dropforge.domain.errors import InvalidEvent, InvalidSettings
from dropforge.domain.instance_rules import listed
from dropforge.domain.ports import ObjectRef
from dropforge.domain.run_manifest import RunManifest

_NAMED, _LONGEST_NAME = 3, 40
LEAKAGE = ("report", "fail")
MAXIMUM_GUARDED = 10


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """What a stack's parameters say about its data.

    Attributes:
        target: the column to predict.
        key: the column that identifies a row, or None: then all of the row does.
        task: ``auto`` or a task of the contract.
        maximum_reject_rate: share of the rows that may break the contract, in [0, 1). The default of 5 %
            lets stray values pass, and stops a column that went wrong as a whole.
        group: the column whose rows of one value stay together in one split, or None.
        time: the column by which newer rows test and older ones train, or None.
        leakage: whether columns that tell too much are reported, or fail the run.
        positive: of two classes the one that the gate measures precision and recall for, or None.
        false_positive_cost, false_negative_cost, minimum_precision, minimum_recall: see `Goal`.
        guarded: the columns in whose slices no candidate may be worse than the live model.
        minimum_rows: rows that have to remain. Of the default of 50, five validate and five test.
    """

    target: str
    key: str | None = None
    task: str = "auto"
    maximum_reject_rate: float = 0.05
    minimum_rows: int = 50
    group: str | None = None
    time: str | None = None
    leakage: str = "report"
    positive: str | None = None
    false_positive_cost: float | None = None
    false_negative_cost: float | None = None
    minimum_precision: float | None = None
    minimum_recall: float | None = None

    @property
    def wish(self) -> Wish | None:
        """What a decision threshold is to serve; None where nothing of it is set.

        Raises:
            InvalidDecisionGoal: what is set contradicts itself.
        """
        goal = Goal.of(
            self.false_positive_cost,
            self.false_negative_cost,
            self.minimum_precision,
            self.minimum_recall,
        )
        return None if goal is None else Wish(goal, self.positive)

    guarded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # They travel between functions as JSON.
        object.__setattr__(self, "guarded", tuple(self.guarded))
        problems = []
        if len(set(self.guarded)) < len(self.guarded) or not all(self.guarded):
            problems.append(f"GuardedColumns is {','.join(self.guarded)!r}; name each column once")
        if len(self.guarded) > MAXIMUM_GUARDED:
            problems.append(
                f"GuardedColumns names {len(self.guarded)} columns; the more there are, the less is said of "
                f"each, so {MAXIMUM_GUARDED} are taken at most"
            )
        if self.target in self.guarded:
            problems.append("GuardedColumns names the target; name columns that say whom a row is about")
        if not self.target:
            problems.append("target is empty; name the column to predict")
        if self.key == "":
            problems.append("key is empty; name a column or leave it out")
        if self.group == "":
            problems.append("group is empty; name a column or leave it out")
        if self.group is not None and self.group in (self.target, self.key):
            taken = (
                "the target" if self.group == self.target else "the id, of which no two rows have the same"
            )
            problems.append(f"GroupColumn is {self.group!r}, which is {taken}; name another column")
        if self.time == "":
            problems.append("time is empty; name a column or leave it out")
        if self.time is not None and self.time in (self.target, self.group):
            taken = "the target" if self.time == self.target else "GroupColumn as well"
            problems.append(f"SplitColumn is {self.time!r}, which is {taken}; name another column")
        if self.leakage not in LEAKAGE:
            problems.append(f"leakage is {self.leakage!r}; it must be {' or '.join(LEAKAGE)}")
        if self.task != "auto" and self.task not in TASKS:
            problems.append(f"task is {self.task!r}; it must be auto, {', '.join(TASKS)}")
        if not 0 <= self.maximum_reject_rate < 1:
            problems.append(f"maximum_reject_rate is {self.maximum_reject_rate}; it must be in [0, 1)")
        if self.minimum_rows < 1:
            problems.append(f"minimum_rows is {self.minimum_rows}; it must be at least 1")
        if problems:
            raise InvalidSettings(f"Settings of the preparation: {'; '.join(problems)}.")
        _ = self.wish  # what is wrong with it is told before any data is read


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """What to prepare.

    Attributes:
        run_id: names the prefix that the output goes to.
        objects: the drops, the newest first.
        data_uri: the data bucket, ``s3://bucket``.
        settings: of the stack.
        drop_ids: of the objects that are drops, by their identity.
        new: the identities of those that the run took; where there are none, it trains again on all of them.
        live_rows: how many rows the live model was trained on, where that is known.
        is_replay: whether it trains again on what another run was trained on.
        asked_at: the time now, ISO 8601 in UTC; None where nobody says: then no row is too new.
    """

    run_id: str
    objects: tuple[ObjectRef, ...]
    data_uri: str
    settings: PrepareSettings
    drop_ids: Mapping[str, str] = field(default_factory=dict)
    new: frozenset[str] = frozenset()
    live_rows: int | None = None
    is_replay: bool = False
    asked_at: str | None = None

    @classmethod
    def of(
        cls,
        manifest: RunManifest,
        data_uri: str,
        settings: PrepareSettings,
        live_rows: int | None,
        asked_at: str | None = None,
    ) -> PrepareRequest:
        """What a run's manifest asks for. Labelled predictions of its own are new as well."""
        own = f"runs/{manifest.run_id}/"
        return cls(
            manifest.run_id,
            manifest.refs,
            data_uri,
            settings,
            drop_ids={
                each.ref.identity: each.drop_id for each in manifest.objects if each.drop_id is not None
            },
            new=frozenset(
                each.ref.identity for each in manifest.objects if each.is_new or each.ref.key.startswith(own)
            ),
            live_rows=live_rows,
            is_replay=manifest.replay_of is not None,
            asked_at=asked_at,
        )

    def about_drops(self) -> dict[str, Any]:
        """The form in which all that is known of the objects as drops travels, for `replace`."""
        return {
            "drop_ids": dict(self.drop_ids),
            "new": sorted(self.new),
            "live_rows": self.live_rows,
            "is_replay": self.is_replay,
            "asked_at": self.asked_at,
        }

    def is_new(self, ref: ObjectRef) -> bool:
        """Whether the run was started for this object."""
        return not self.new or ref.identity in self.new

    def __post_init__(self) -> None:
        if not self.objects:
            raise InvalidEvent(f"Run {self.run_id} has no objects to prepare.")
        if not self.run_id or "/" in self.run_id:
            raise InvalidEvent(f"{self.run_id!r} is no run id.")
        ObjectRef.from_uri(self.data_uri)

    @property
    def prefix(self) -> str:
        """Where the run's files go, with the final slash."""
        return f"{self.data_uri.rstrip('/')}/runs/{self.run_id}/"

    @property
    def read(self) -> tuple[ObjectRef, ...]:
        """The objects whose rows count, the newest first: of each object the newest version.

        With a key as well: a row that is gone from the newer version is gone.
        """
        newest: dict[tuple[str, str], ObjectRef] = {}
        for ref in self.objects:
            newest.setdefault((ref.bucket, ref.key), ref)
        return tuple(newest.values())

    @property
    def replaced(self) -> tuple[ObjectRef, ...]:
        """The other objects: there is a newer version of each among those that are read."""
        return tuple(ref for ref in self.objects if ref not in self.read)

    @property
    def newest_drop(self) -> ObjectRef:
        """The newest object that is no collection of labelled predictions, where there is one."""
        own = f"runs/{self.run_id}/"
        return next((ref for ref in self.read if not ref.key.startswith(own)), self.read[0])


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Where everything is, and how many rows came to what.

    `read_otherwise` says of columns which reading may have split the rows otherwise, see `CheckCounts`;
    `wish` what a decision threshold is to serve.
    """

    run_id: str
    prefix: str
    contract_uri: str
    contract_hash: str
    contract_is_new: bool
    task: str
    target: str
    split_rows: Mapping[str, int]
    profile_uri: str
    report_uri: str
    rejected_uri: str
    read: int
    rejected: int
    duplicates: int
    data_version: str
    notes: tuple[str, ...] = field(default=())
    unlabelled: int = 0
    remarks: tuple[str, ...] = field(default=())
    read_otherwise: Mapping[str, int] = field(default_factory=dict)
    wish: Wish | None = None

    @property
    def kept(self) -> int:
        return self.read - self.rejected - self.unlabelled - self.duplicates

    def to_dict(self) -> dict[str, Any]:
        """Return the form that travels between states."""
        return {
            "run_id": self.run_id,
            "prefix": self.prefix,
            "contract_uri": self.contract_uri,
            "contract_hash": self.contract_hash,
            "contract_is_new": self.contract_is_new,
            "task": self.task,
            "target": self.target,
            "splits": {
                split: {"uri": f"{self.prefix}{split}/", "rows": rows}
                for split, rows in self.split_rows.items()
            },
            "profile_uri": self.profile_uri,
            "report_uri": self.report_uri,
            "rejected": {"uri": self.rejected_uri, "rows": self.rejected},
            "rows": {
                "read": self.read,
                "rejected": self.rejected,
                "unlabelled": self.unlabelled,
                "duplicates": self.duplicates,
                "kept": self.kept,
            },
            "data_version": self.data_version,
            "remarks": list(self.remarks),
            "read_otherwise": _by_reading(self.read_otherwise),
            **({} if self.wish is None else {"decision_goal": self.wish.to_json()}),
        }


def _by_reading(last_readings: Mapping[str, int]) -> str:
    """For the environment of a training job, 512 characters a variable: JSON of columns by reading.

    Returns:
        The columns that each reading read otherwise, listed as people read it; nothing where there are none.
    """
    columns = {
        reading: listed(
            [repr(name[:_LONGEST_NAME]) for name, last in last_readings.items() if last >= reading], _NAMED
        )
        for reading in range(1, max(last_readings.values(), default=0) + 1)
    }
    return json.dumps(columns, ensure_ascii=False) if columns else ""
