"""How fast the parts of a run are: measured by ``python -m bench rates``, or assumed with a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

LAMBDA_VCPU_MB: Final = 1769
"""The memory at which a function has one vCPU; CPU is in proportion to memory.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""

LAMBDA_VCPU_GB: Final = LAMBDA_VCPU_MB / 1024
"""GB-seconds that one second of one vCPU costs, whatever the function's memory is."""

_FUNCTION = "function."


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate. ``why`` says how it was measured, or what an assumed one rests on.

    Attributes:
        error: the standard error of a slope; None where the rate isn't one.
    """

    value: float
    unit: str
    kind: str
    why: str
    error: float | None = None


@dataclass(frozen=True)
class Rates:
    """The rates, and where and when the measured ones were taken."""

    machine: str
    measured_on: str
    command: str
    rates: Mapping[str, Rate]

    def __getitem__(self, key: str) -> float:
        return self.rates[key].value

    def function_s(self, logical_id: str) -> float:
        """Seconds of one vCPU that a call of the function takes; the longest known for an unknown one."""
        known = {key: rate.value for key, rate in self.rates.items() if key.startswith(_FUNCTION)}
        return known.get(f"{_FUNCTION}{logical_id}", max(known.values()))

    def csv_mb(self, key: str, size: int) -> float:
        """How many MB of CSV an object of a name and size stands for."""
        name = key.lower()
        for ending in ("gz", "zst", "parquet"):
            if name.endswith(f".{ending}"):
                return size / 1e6 * self[f"expansion.{ending}"]
        return size / 1e6


@cache
def load_rates() -> Rates:
    """The rates that ship with dropforge."""
    return from_document(json.loads(Path(__file__).with_name("rates.json").read_text("utf-8")))


def from_document(document: Mapping[str, Any]) -> Rates:
    """Rates from the content of ``rates.json``."""
    rates = {key: Rate(**entry) for key, entry in document["rates"].items()}
    return Rates(document["machine"], document["measured_on"], document["command"], rates)
