"""From a gigabyte to ten terabytes on paper: what a run takes, and which limits of AWS it meets. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropforge.pricing.prices import PriceList
from dropforge.pricing.rates import LAMBDA_VCPU_MB, Rates
from dropforge.pricing.run import (
    TRAINING_VOLUME_GB,
    RunEstimate,
    estimate_run,
    training_memory_mb,
    training_seconds,
)
from dropforge_ops.cost.stack_template import StackTemplate
from dropforge_ops.cost.ways import Ways

SIZES_GB: Final = (1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000)

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
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
    "ml.r5.24xlarge": 786_432,
    "ml.m4.xlarge": 16_384,
    "ml.c5.large": 4_096,
    "ml.c5.xlarge": 8_192,
    "ml.c5.2xlarge": 16_384,
    "ml.c5.4xlarge": 32_768,
}
# Of these the smallest that is large enough is named.
_GENERAL: Final = ("ml.m5.", "ml.r5.")
# Of an instance's memory, what the system and the container leave.
_USABLE: Final = 0.9
# Staged rows are about as large as the CSV that they came from.
_SCRATCH_PER_CSV: Final = 1.1
_SPLITS: Final = 3
# Of each chunk's own execution: its start and its state.
_TRANSITIONS_A_CHUNK: Final = 2
_HOURS: Final = 3600
# scikit-learn numbers rows in 32 bits, of which it takes one for the sign (1.9, ``splitting.pyx``).
_MOST_ROWS: Final = 2**31 - 1


@dataclass(frozen=True)
class Step:
    """What a run on one size takes.

    Attributes:
        gigabytes: of CSV.
        instance_type: the smallest whose memory holds the training data; None where none does.
        functions: in how many chunks the preparation is cut; 1 is a single function.
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
    transitions = Ways.of(template).run_transitions(rates)
    return [_step(size, template, prices, rates, transitions) for size in sizes_gb]


def tuning_seconds(template: StackTemplate) -> float:
    """What searching hyperparameters takes of each training job at most."""
    return template.number("TuningMinutes") * 60 if template.number("TuningTrials") else 0.0


def preparation_vcpus(template: StackTemplate) -> float:
    """What the memory of the preparation's function gives it of processors."""
    return float(template.functions()["PrepareDataFunction"]["MemorySize"]) / LAMBDA_VCPU_MB


def estimate_and_limits(
    template: StackTemplate,
    prices: PriceList,
    rates: Rates,
    objects: list[tuple[str, int]],
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
        spot_interruptions=int(template.number("TrainingSpot")),
        tuning_s=tuning_seconds(template),
        instances=int(template.number("TrainingInstanceCount")),
        transitions=Ways.of(template).run_transitions(rates),
        preparation_vcpus=preparation_vcpus(template),
    )
    return estimate, [
        *_shape(estimate.input_mb, template, rates).limits(rates),
        *_training_limits(estimate.input_mb, chosen, template, rates),
    ]


def _step(
    gigabytes: float, template: StackTemplate, prices: PriceList, rates: Rates, transitions: int
) -> Step:
    megabytes = gigabytes * 1000
    shape = _shape(megabytes, template, rates)
    instances = int(template.number("TrainingInstanceCount"))
    instance = _smallest_instance(megabytes / instances, rates)
    estimate = estimate_run(
        [("drop.csv", int(megabytes * 1e6))],
        instance_type=instance or max(INSTANCE_MB, key=lambda name: INSTANCE_MB[name]),
        prices=prices,
        rates=rates,
        max_training_s=template.number("TrainingMaxRuntimeSeconds"),
        spot_interruptions=int(template.number("TrainingSpot")),
        tuning_s=tuning_seconds(template),
        instances=int(template.number("TrainingInstanceCount")),
        transitions=transitions + (shape.functions - 1) * _TRANSITIONS_A_CHUNK,
    )
    limits = [
        *shape.limits(rates),
        *_training_limits(megabytes, instance, template, rates),
    ]
    if megabytes > S3_OBJECT_MB:
        limits.append(f"S3: an object holds at most {S3_OBJECT_MB / 1e6:g} TB; drop several files")
    return Step(
        gigabytes=gigabytes,
        instance_type=instance,
        functions=shape.functions,
        preparation_s=shape.seconds * shape.waves,
        training_s=min(
            training_seconds(megabytes, rates, instances), template.number("TrainingMaxRuntimeSeconds")
        ),
        usd=estimate.usd,
        limits=tuple(limits),
    )


@dataclass(frozen=True)
class _Shape:
    """How a preparation is cut: one function, or chunks of a Distributed Map; each takes ``seconds``."""

    megabytes: float
    functions: int
    at_once: int
    seconds: float
    timeout_s: float
    scratch_mb: float

    @property
    def waves(self) -> int:
        return math.ceil(self.functions / self.at_once)

    def limits(self, rates: Rates) -> list[str]:
        part = self.megabytes / self.functions
        found = []
        if self.seconds > self.timeout_s:
            found.append(
                f"Lambda: one function would take {self.seconds / 60:,.0f} min "
                f"and has {self.timeout_s / 60:.0f}"
            )
        if part * _SCRATCH_PER_CSV > self.scratch_mb:
            found.append(
                f"Lambda: staging needs {part * _SCRATCH_PER_CSV / 1000:,.1f} GB of /tmp, which holds "
                f"{self.scratch_mb / 1024:.0f} GiB"
            )
        if self.waves > 1:
            found.append(
                f"Lambda: {self.functions:,} chunks, {self.at_once:,} at once (ScaleOutConcurrency; "
                f"an account has up to {LAMBDA_CONCURRENCY:,}, a new one often 10), in {self.waves:,} waves"
            )
        written = self.at_once * _SPLITS * part / rates["prepare.block_mb"] / max(self.seconds, 1e-9)
        if written > S3_WRITES_A_SECOND:
            found.append(
                f"S3: {written:,.0f} writes a second into a prefix that takes {S3_WRITES_A_SECOND:,}"
            )
        return found


def _shape(megabytes: float, template: StackTemplate, rates: Rates) -> _Shape:
    """The shape that the template's scale-out parameters give a preparation."""
    functions, name = 1, "PrepareDataFunction"
    scratch_mb = _scratch_mb(template.functions()[name])
    if megabytes > template.number("ScaleOutMegabytes"):
        functions = math.ceil(megabytes / template.number("ScaleOutChunkMegabytes"))
        name = "PrepareChunkFunction"
        scratch_mb = math.inf  # Chunks stage their rows in the bucket.
    function = template.functions()[name]
    vcpus = float(function["MemorySize"]) / LAMBDA_VCPU_MB
    return _Shape(
        megabytes=megabytes,
        functions=functions,
        at_once=min(functions, int(template.number("ScaleOutConcurrency"))),
        seconds=megabytes / functions / rates["prepare.csv_mb_per_cpu_s"] / vcpus,
        timeout_s=float(function["Timeout"]),
        scratch_mb=scratch_mb,
    )


def _scratch_mb(function: Mapping[str, Any]) -> float:
    return float((function.get("EphemeralStorage") or {}).get("Size", 512))


def _training_limits(
    megabytes: float, instance: str | None, template: StackTemplate, rates: Rates
) -> list[str]:
    found = []
    instances = int(template.number("TrainingInstanceCount"))
    needed = training_memory_mb(megabytes, rates, instances)
    each = " on each instance" if instances > 1 else ""
    if instance is None:
        found.append(
            f"Training: about {needed / 1000:,.0f} GB of memory{each}; the largest instance in the list has "
            f"{max(INSTANCE_MB.values()) / 1024:.0f} GiB. Train on a sample, or bring an image of your own"
        )
    elif instance in INSTANCE_MB and needed > INSTANCE_MB[instance] * _USABLE:
        found.append(
            f"Training: about {needed / 1000:,.0f} GB of memory{each}, {instance} has "
            f"{INSTANCE_MB[instance] / 1024:.0f} GiB"
        )
    if (rows := rates["train.rows_per_csv_mb"] * megabytes / instances) > _MOST_ROWS:
        found.append(
            f"Training: about {rows / 1e9:,.1f} billion rows{each}, if they are short; boosting can number "
            f"{_MOST_ROWS / 1e9:.1f} billion"
        )
    if (parquet_gb := rates["prepare.parquet_mb_per_csv_mb"] * megabytes / 1000) > TRAINING_VOLUME_GB:
        found.append(
            f"Training: about {parquet_gb:,.0f} GB of Parquet; a job's volume holds {TRAINING_VOLUME_GB} GB"
        )
    limit = template.number("TrainingMaxRuntimeSeconds")
    seconds = training_seconds(megabytes, rates, instances)
    if seconds > limit:
        found.append(
            f"Training: {seconds / _HOURS:,.1f} h, TrainingMaxRuntimeSeconds allows {limit / _HOURS:g} h"
        )
    return found


def _smallest_instance(megabytes: float, rates: Rates) -> str | None:
    needed = training_memory_mb(megabytes, rates)
    fitting = [
        name
        for name, memory in INSTANCE_MB.items()
        if name.startswith(_GENERAL) and memory * _USABLE >= needed
    ]
    return min(fitting, key=lambda name: INSTANCE_MB[name], default=None)
