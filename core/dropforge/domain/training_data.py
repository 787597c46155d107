"""Which drops a run takes, and on which earlier ones it trains as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from dropforge.domain.drop_life import DropState, RecordedDrop, newest_of_each_key
from dropforge.domain.moments import iso
from dropforge.domain.ports import ObjectRef
from dropforge.domain.run_manifest import ManifestObject

TrainingData = Literal["all-drops", "new-drops"]
ALL: Final = "all-drops"


@dataclass(frozen=True)
class Waiting:
    """The drops that wait, sorted out.

    Attributes:
        ready: of each object the newest version, but for parts whose folder isn't complete.
        outdated: older versions, each with the drop id of the one that supersedes it.
        held: parts whose folder isn't complete.
    """

    ready: Sequence[RecordedDrop]
    outdated: Sequence[tuple[RecordedDrop, str]]
    held: Sequence[RecordedDrop]


def sort_out(waiting: Sequence[RecordedDrop], now: datetime) -> Waiting:
    """Sort out what waits."""
    newest = newest_of_each_key(waiting)
    kept = [each for each in waiting if newest[each.drop.key] is each]
    return Waiting(
        ready=[each for each in kept if not each.is_held(now)],
        outdated=[
            (each, newest[each.drop.key].drop_id) for each in waiting if newest[each.drop.key] is not each
        ],
        held=[each for each in kept if each.is_held(now)],
    )


def so_far(
    drops: Iterable[RecordedDrop], taken: Sequence[RecordedDrop], now: datetime, window_days: int
) -> list[RecordedDrop]:
    """The drops that earlier runs were trained on and that count beside the ones that are taken.

    Of each object the newest good version, unless a newer one is taken; within the last `window_days` days,
    or all where that is 0.
    """
    since = iso(now - timedelta(days=window_days)) if window_days else ""
    replaced = {each.drop.key for each in taken}
    trained = newest_of_each_key(each for each in drops if each.state is DropState.TRAINED)
    return [each for key, each in trained.items() if key not in replaced and each.written_at >= since]


def manifest_objects(taken: Iterable[RecordedDrop], earlier: Iterable[RecordedDrop]) -> list[ManifestObject]:
    """The objects of a run, the newest first."""
    found = [(each, True) for each in taken] + [(each, False) for each in earlier]
    found.sort(key=lambda pair: pair[0].order, reverse=True)
    return [
        ManifestObject(
            ObjectRef(each.drop.bucket, each.drop.key, each.drop.version_id, each.drop.etag, each.drop.size),
            drop_id=each.drop_id,
            is_new=is_new,
            written_at=each.written_at,
        )
        for each, is_new in found
    ]
