"""From a gigabyte to ten terabytes on paper: what a run takes, and which limits of AWS it meets. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dropforge.pricing.prices import PriceList
from dropforge.pricing.rates import LAMBDA_VCPU_MB, Rates
from dropforge.pricing.run import RunEstimate, estimate_run, training_seconds
from dropforge_ops.cost.stack_template import StackTemplate

SIZES_GB: Final = (1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000)

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_TIMEOUT_S: Final = 900
LAMBDA_SCRATCH_MB: Final = 10_240
LAMBDA_CONCURRENCY: Final = 1_000
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
S3_OBJECT_MB: Final = 5_000_000
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
S3_WRITES_A_SECOND: Final = 3_500
# Memory of SageMaker's instances, in MB: https://aws.amazon.com/sagemaker/pricing/
INSTANCE_MB: Final = {
    "ml.m5.large": 8_192,
    "ml.m5.xlarge": 16_384,
    "ml.m5.2xlarge": 32_768,
    "ml.m5.4xlarge": 65_536,
    "ml.m5.12xlarge": 196_608,
    "ml.m5.24xlarge": 393_216,
    "ml.m4.xlarge": 16_384,
    "ml.c5.large": 4_096,
    "ml.c5.xlarge": 8_192,
    "ml.c5.2xlarge": 16_384,
    "ml.c5.4xlarge": 32_768,
}
# Of an instance's memory, what the system and the container leave.
_USABLE: Final = 0.9
# Staged rows are about as large as the CSV that they came from.
_SCRATCH_PER_CSV: Final = 1.1
# What one function of a fan-out is given: half of what it could do, so that a slow one ends in time as well.
_CHUNK_SHARE: Final = 0.5
_HOURS: Final = 3600


@dataclass(frozen=True)
class Step:
    """What a run on one size takes.

    Attributes:
        gigabytes: of CSV.
        instance_type: the smallest whose memory holds the training data; None where none does.
        functions: how many preparation functions share the work; 1 is a single one.
        preparation_s, training_s: wall time; training is cut off at ``TrainingMaxRuntimeSeconds``.
        limits: what stands in the way, in words; empty where nothing does.
    """

    gigabytes: float
    instance_type: str | None
    functions: int
    preparation_s: float
    training_s: float
    usd: float
    limits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "gigabytes": self.gigabytes,
            "instance_type": self.instance_type,
            "functions": self.functions,
            "preparation_s": round(self.preparation_s, 1),
            "training_s": round(self.training_s, 1),
            "usd": round(self.usd, 4),
            "limits": list(self.limits),
        }


def simulate(
    template: StackTemplate, prices: PriceList, rates: Rates, sizes_gb: Iterable[float] = SIZES_GB
) -> list[Step]:
    """A run on each size, with the template's functions and the measured rates."""
    return [_step(size, template, prices, rates) for size in sizes_gb]


def preparation_vcpus(template: StackTemplate) -> float:
    """What the memory of the preparation's function gives it of processors."""
    return float(template.functions()["PrepareDataFunction"]["MemorySize"]) / LAMBDA_VCPU_MB


def estimate_and_limits(
    template: StackTemplate,
    prices: PriceList,
    rates: Rates,
    objects: list[tuple[str, int]],
    *,
    transitions: int,
    instance_type: str | None = None,
) -> tuple[RunEstimate, list[str]]:
    """The estimate of one run as the template stands, and the limits that it meets."""
    chosen = instance_type or template.parameters["TrainingInstanceTypes"].split(",")[0]
    estimate = estimate_run(
        objects,
        instance_type=chosen,
        prices=prices,
        rates=rates,
        max_training_s=template.number("TrainingMaxRuntimeSeconds"),
        transitions=transitions,
        preparation_vcpus=preparation_vcpus(template),
    )
    return estimate, [
        *_preparation_limits(estimate.input_mb, template, rates),
        *_training_limits(estimate.input_mb, chosen, template, rates),
    ]


def _step(gigabytes: float, template: StackTemplate, prices: PriceList, rates: Rates) -> Step:
    megabytes = gigabytes * 1000
    vcpus = preparation_vcpus(template)
    one_function_s = megabytes / rates["prepare.csv_mb_per_cpu_s"] / vcpus
    functions = _functions(megabytes, vcpus, rates)
    waves = math.ceil(functions / LAMBDA_CONCURRENCY)
    instance = _smallest_instance(megabytes, rates)
    estimate = estimate_run(
        [("drop.csv", int(megabytes * 1e6))],
        instance_type=instance or max(INSTANCE_MB, key=lambda name: INSTANCE_MB[name]),
        prices=prices,
        rates=rates,
        max_training_s=template.number("TrainingMaxRuntimeSeconds"),
    )
    limits = [
        *_preparation_limits(megabytes, template, rates),
        *_fan_out_limits(megabytes, functions, waves, one_function_s / functions, rates),
        *_training_limits(megabytes, instance, template, rates),
    ]
    if megabytes > S3_OBJECT_MB:
        limits.append(f"S3: an object holds at most {S3_OBJECT_MB / 1e6:g} TB; drop several files")
    return Step(
        gigabytes=gigabytes,
        instance_type=instance,
        functions=functions,
        preparation_s=one_function_s / functions * waves,
        training_s=min(training_seconds(megabytes, rates), template.number("TrainingMaxRuntimeSeconds")),
        usd=estimate.usd,
        limits=tuple(limits),
    )


def _functions(megabytes: float, vcpus: float, rates: Rates) -> int:
    """How many functions the work needs so that each ends in half of its time and fits its scratch space."""
    in_time = LAMBDA_TIMEOUT_S * _CHUNK_SHARE * rates["prepare.csv_mb_per_cpu_s"] * vcpus
    in_scratch = LAMBDA_SCRATCH_MB * _CHUNK_SHARE / _SCRATCH_PER_CSV
    return max(1, math.ceil(megabytes / min(in_time, in_scratch)))


def _preparation_limits(megabytes: float, template: StackTemplate, rates: Rates) -> list[str]:
    function = template.functions()["PrepareDataFunction"]
    timeout = float(function["Timeout"])
    seconds = megabytes / rates["prepare.csv_mb_per_cpu_s"] / preparation_vcpus(template)
    scratch = float((function.get("EphemeralStorage") or {}).get("Size", 512))
    found = []
    if seconds > timeout:
        found.append(f"Lambda: one function would take {seconds / 60:,.0f} min and has {timeout / 60:.0f}")
    if megabytes * _SCRATCH_PER_CSV > scratch:
        found.append(
            f"Lambda: staging needs {megabytes * _SCRATCH_PER_CSV / 1000:,.1f} GB of /tmp, which holds "
            f"{scratch / 1024:.0f} GiB"
        )
    return found


def _fan_out_limits(megabytes: float, functions: int, waves: int, seconds: float, rates: Rates) -> list[str]:
    if functions == 1:
        return []
    found = []
    if waves > 1:
        found.append(f"Lambda: {functions:,} functions at {LAMBDA_CONCURRENCY:,} at once, in {waves} waves")
    at_once = min(functions, LAMBDA_CONCURRENCY)
    written = at_once * 3 * megabytes / functions / rates["prepare.block_mb"] / max(seconds, 1e-9)
    if written > S3_WRITES_A_SECOND:
        found.append(f"S3: {written:,.0f} writes a second into a prefix that takes {S3_WRITES_A_SECOND:,}")
    return found


def _training_limits(
    megabytes: float, instance: str | None, template: StackTemplate, rates: Rates
) -> list[str]:
    found = []
    needed = rates["train.memory_mb_per_csv_mb"] * megabytes
    if instance is None:
        found.append(
            f"Training: about {needed / 1000:,.0f} GB of memory; the largest instance in the list has "
            f"{max(INSTANCE_MB.values()) / 1024:.0f} GiB. Train on a sample, or bring an image that streams"
        )
    elif instance in INSTANCE_MB and needed > INSTANCE_MB[instance] * _USABLE:
        found.append(
            f"Training: about {needed / 1000:,.0f} GB of memory, {instance} has "
            f"{INSTANCE_MB[instance] / 1024:.0f} GiB"
        )
    limit = template.number("TrainingMaxRuntimeSeconds")
    seconds = training_seconds(megabytes, rates)
    if seconds > limit:
        found.append(
            f"Training: {seconds / _HOURS:,.1f} h, TrainingMaxRuntimeSeconds allows {limit / _HOURS:g} h"
        )
    return found


def _smallest_instance(megabytes: float, rates: Rates) -> str | None:
    needed = rates["train.memory_mb_per_csv_mb"] * megabytes
    fitting = [
        name
        for name, memory in INSTANCE_MB.items()
        if name.startswith("ml.m5.") and memory * _USABLE >= needed
    ]
    return min(fitting, key=lambda name: INSTANCE_MB[name], default=None)
