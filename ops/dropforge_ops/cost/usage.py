"""How much a stack is used in a month: named profiles, a file, or options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from dropforge_ops.errors import NotFound, UsageError

ENDPOINT_MODES: Final = ("serverless", "real-time", "asynchronous")


@dataclass(frozen=True)
class Usage:
    """A month's use.

    Attributes:
        requests: to the prediction API.
        rows_per_request: instances in each.
        outcomes: reported outcomes of predictions.
        kb_per_row: a row's inputs and answer, as JSON.
        drops: files under ``incoming/``, of ``gb_per_drop`` GB of CSV each.
        trainings: runs; None: one per drop.
        deployments: approved versions; None: one per training.
        batches: files under ``batch/in/``, of ``gb_per_batch`` GB of CSV each.
        watched_windows: None: as often as the template's schedule says.
        kept_months: for how many months of such use drops and models lie in the bucket.
        endpoint_mode: one of `ENDPOINT_MODES`; None: what the template's parameter says.
        endpoint_hours: hours that a real-time endpoint is up.
    """

    requests: float = 0.0
    rows_per_request: float = 1.0
    outcomes: float = 0.0
    kb_per_row: float = 1.0
    drops: float = 0.0
    gb_per_drop: float = 0.0
    trainings: float | None = None
    deployments: float | None = None
    batches: float = 0.0
    gb_per_batch: float = 0.0
    watched_windows: float | None = None
    kept_months: float = 1.0
    endpoint_mode: str | None = None
    endpoint_hours: float = 730.0

    def __post_init__(self) -> None:
        wrong = [
            each.name
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), int | float) and value < 0
        ]
        if wrong:
            raise UsageError(f"The usage's {', '.join(wrong)} must not be negative.")
        if self.endpoint_mode not in (None, *ENDPOINT_MODES):
            raise UsageError(f"endpoint_mode is {self.endpoint_mode!r}; it is one of {ENDPOINT_MODES}.")

    @property
    def runs(self) -> float:
        return self.drops if self.trainings is None else self.trainings

    @property
    def promotions(self) -> float:
        return self.runs if self.deployments is None else self.deployments


PROFILES: Final[Mapping[str, Usage]] = {
    "idle": Usage(),
    "workshop": Usage(requests=100_000, drops=30, gb_per_drop=5 / 30),
    "busy": Usage(
        requests=10_000_000, outcomes=1_000_000, drops=120, gb_per_drop=1, batches=30, gb_per_batch=1
    ),
}
"""``workshop``: 100,000 requests, 5 GB that come in daily drops, a training and a deployment every day."""


def usage_of(profile: str, changes: Mapping[str, Any]) -> Usage:
    """A named profile, or a TOML file of `Usage`'s fields, with changes on top.

    Raises:
        NotFound: there is neither such a profile nor such a file.
        UsageError: the file or a change is malformed.
    """
    base = PROFILES[profile] if profile in PROFILES else _from_file(Path(profile))
    return replace(base, **{name: value for name, value in changes.items() if value is not None})


def _from_file(path: Path) -> Usage:
    if not path.is_file():
        raise NotFound(f"{path} is neither a file nor one of the profiles {', '.join(PROFILES)}.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}.") from error
    kinds = {each.name: str if each.name == "endpoint_mode" else (int, float) for each in fields(Usage)}
    wrong = [
        name
        for name, value in content.items()
        if name not in kinds or isinstance(value, bool) or not isinstance(value, kinds[name])
    ]
    if wrong:
        raise UsageError(
            f"{path}: {', '.join(wrong)} can't be used. A profile has numbers for {', '.join(kinds)}."
        )
    return Usage(**content)
