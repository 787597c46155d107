"""What is saved when, of the services of a host that runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dropforge_local.glue.snapshots import Snapshots
from dropforge_local.testing.waiting import looked_for


def _snapshots(
    folder: Path,
    states: dict[str, Callable[[], Any]],
    saved: dict[str, Callable[[Any], None]] | None = None,
) -> Snapshots:
    app = SimpleNamespace(_build_persistence_save_dict=lambda: states)
    persistence = SimpleNamespace(_state_format_version=lambda name: 2, _json_default=None)
    return Snapshots(folder, app, persistence, saved or {})


def _comes(look: Callable[[], bool]) -> bool:
    return bool(looked_for(look, 20, first_pause_s=0.02, last_pause_s=0.02))


def _saved(folder: Path, service: str) -> Any:
    path = folder / f"{service}.json"
    return json.loads(path.read_text())["payload"] if path.exists() else None


def test_a_service_that_takes_long_holds_up_no_other(tmp_path: Path) -> None:
    queues: list[str] = []
    looks: list[float] = []

    def logs() -> list[int]:
        looks.append(time.monotonic())
        time.sleep(0.6)  # many megabytes; it is looked at again after 6 s
        return [len(looks)]

    snapshots = _snapshots(tmp_path, {"cloudwatch_logs": logs, "sqs": lambda: list(queues)})
    snapshots.start()
    try:
        assert _comes(lambda: _saved(tmp_path, "sqs") == [])
        for number in range(3):
            queues.append(f"queue {number}")
            snapshots.mark("sqs")
            assert _comes(lambda: _saved(tmp_path, "sqs") == queues)
        assert len(looks) == 1
    finally:
        snapshots.close()


def test_what_could_not_be_saved_is_tried_again(tmp_path: Path) -> None:
    fails = threading.Event()
    fails.set()

    def topics() -> list[str]:
        if fails.is_set():
            fails.clear()
            raise ValueError("changed meanwhile")
        return ["a topic"]

    snapshots = _snapshots(tmp_path, {"sns": topics})
    snapshots.start()
    try:
        assert _comes(lambda: _saved(tmp_path, "sns") == ["a topic"])
    finally:
        snapshots.close()


def test_what_is_told_as_saved_is_on_the_disk(tmp_path: Path) -> None:
    position = [3]
    told: list[tuple[int, Any]] = []
    snapshots = _snapshots(
        tmp_path,
        {"dynamodb": lambda: {"position": position[0]}, "sqs": list},
        {"dynamodb": lambda state: told.append((state["position"], _saved(tmp_path, "dynamodb")))},
    )
    snapshots.save(None)
    snapshots.save(None)  # nothing new
    position[0] = 5
    snapshots.save({"sqs"})
    snapshots.save({"dynamodb"})
    assert told == [(3, {"position": 3}), (5, {"position": 5})]
