"""``manifest.json`` of a run: the objects that it trains on, and which of them are drops that it took."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dropforge.domain.ports import ObjectRef

FORMAT = 2
NAME = "manifest.json"
REMARKS_NAME = "remarks.json"


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """One object of a run.

    Attributes:
        drop_id: of the drop that it is; None for labelled predictions, and in manifests of format 1.
        is_new: whether this run took the drop; otherwise an earlier run was trained on it.
        written_at: when it was written, ISO 8601 in UTC.
    """

    ref: ObjectRef
    drop_id: str | None = None
    is_new: bool = False
    written_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        own = {"drop_id": self.drop_id, "is_new": self.is_new, "written_at": self.written_at}
        return {**asdict(self.ref), **own}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ManifestObject:
        own = {name: raw.get(name) for name in ("drop_id", "written_at")}
        return cls(ObjectRef.from_dict(raw), is_new=bool(raw.get("is_new")), **own)


@dataclass(frozen=True)
class RunManifest:
    """What a run trains on; objects the newest first.

    ``labelled`` says which predictions whose outcome was reported belong to it, and after preparation how
    many rows these are.
    """

    run_id: str
    trigger: str
    objects: tuple[ManifestObject, ...]
    replay_of: str | None = None
    labelled: Mapping[str, Any] | None = None

    @property
    def refs(self) -> tuple[ObjectRef, ...]:
        return tuple(each.ref for each in self.objects)

    @property
    def taken(self) -> list[str]:
        """The ids of the drops that the run took."""
        return [each.drop_id for each in self.objects if each.is_new and each.drop_id is not None]

    @property
    def newest_at(self) -> str | None:
        """When the newest of its objects was written; None where nobody noted that."""
        return max((each.written_at for each in self.objects if each.written_at), default=None)

    def without(self, drop_ids: frozenset[str]) -> RunManifest:
        """The same without some drops."""
        return replace(self, objects=tuple(each for each in self.objects if each.drop_id not in drop_ids))

    def to_json(self) -> bytes:
        document = {
            "format": FORMAT,
            "run_id": self.run_id,
            "trigger": self.trigger,
            "replay_of": self.replay_of,
            "objects": [each.to_dict() for each in self.objects],
            **({} if self.labelled is None else {"labelled": dict(self.labelled)}),
        }
        # Some 500 bytes an object: 20,000 of them are written and read in a fraction of a second.
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RunManifest:
        """Read it; format 1 doesn't tell which objects are new."""
        return cls.from_dict(json.loads(data))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RunManifest:
        """Read it, parsed."""
        return cls(
            run_id=raw["run_id"],
            trigger=raw["trigger"],
            objects=tuple(ManifestObject.from_dict(each) for each in raw["objects"]),
            replay_of=raw.get("replay_of"),
            labelled=raw.get("labelled"),
        )


@dataclass(frozen=True)
class Remarks:
    """``remarks.json`` beside a run's manifest: what its preparation found out about the drops.

    Attributes:
        set_aside: why files are bad by themselves, ``{"class", "message"}`` by drop id.
        notes: what whoever decides on the model should know.
    """

    set_aside: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> bytes:
        return json.dumps(
            {"format": 1, "set_aside": dict(self.set_aside), "notes": list(self.notes)}
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Remarks:
        raw = json.loads(data)
        return cls(raw["set_aside"], tuple(raw["notes"]))
