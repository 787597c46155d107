"""The files that a run left, and where the console serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from dropforge_ops.stack.target import Target

PATH: Final = "/downloads"
CARD: Final = "model-card.md"
# What prepare, judge and train leave; rows of the data itself lie in folders of their own.
_FOLDERS: Final = ("models/{run}/", "runs/{run}/", "runs/{run}/contract/")


@dataclass(frozen=True)
class RunFile:
    """A file that a run left; ``name`` tells it from the others of the run, ``size`` is in bytes."""

    name: str
    key: str
    size: int

    def path(self, run_id: str) -> str:
        """Where the console serves it."""
        return f"{PATH}/{quote(run_id)}/{quote(self.name)}"


def files_of(target: Target, run_id: str) -> tuple[RunFile, ...]:
    """What there is to download of a run, by name; three requests to S3."""
    found = [
        RunFile(
            each["Key"].removeprefix("models/").removeprefix("runs/").removeprefix(f"{run_id}/"),
            each["Key"],
            each["Size"],
        )
        for folder in _FOLDERS
        for each in target.client("s3")
        .list_objects_v2(Bucket=target.bucket, Prefix=folder.format(run=run_id), Delimiter="/")
        .get("Contents", ())
    ]
    return tuple(sorted({each.name: each for each in found}.values(), key=lambda each: each.name))
