"""What one training run costs and how long it takes, from the size of its input alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dropforge.domain.errors import PermanentError, RunTooExpensive, UnknownPrice
from dropforge.domain.ports import ObjectRef
from dropforge.pricing.prices import DEFAULT_REGION, PriceList, load_prices
from dropforge.pricing.rates import LAMBDA_VCPU_GB, Rates, load_rates

HOURS_A_MONTH: Final = 730
TRAINING_VOLUME_GB: Final = 30
SPOT_LEAST_SHARE: Final = 0.1
"""Of the price on demand, what Spot capacity costs at least: AWS names savings of up to 90 %.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html"""
TOGETHER: Final = 1.4
"""Times the work of one that several do together: assumed; `python -m bench instances` measures it."""
_READS_OF_THE_INPUT = 2  # the first drop's contract is inferred in a pass of its own
_SPLITS = 3
_OTHER_READS, _OTHER_WRITES = 60, 30


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the price.

    Attributes:
        quantity, usd: at most.
        seconds: how long it takes, 0 where that is nothing; without interruptions.
        least_share: of ``usd``, what it may come to in the best case.
    """

    name: str
    quantity: float
    unit: str
    usd: float
    seconds: float = 0.0
    least_share: float = 1.0


@dataclass(frozen=True)
class RunEstimate:
    """What a run takes.

    Attributes:
        input_mb: its input, as MB of CSV.
        memory_mb: what training holds in memory at its peak, on each instance.
    """

    input_mb: float
    instance_type: str
    memory_mb: float
    parts: tuple[Part, ...]

    @property
    def usd(self) -> float:
        """At most; what a cap is held to."""
        return sum(part.usd for part in self.parts)

    @property
    def least_usd(self) -> float:
        """In the best case; less than ``usd`` only on Spot capacity."""
        return sum(part.usd * part.least_share for part in self.parts)

    @property
    def seconds(self) -> float:
        """From the drop to the question for approval, without queues and without the approval."""
        return sum(part.seconds for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "input_mb": round(self.input_mb, 3),
            "instance_type": self.instance_type,
            "training_memory_mb": round(self.memory_mb),
            "usd": round(self.usd, 6),
            "least_usd": round(self.least_usd, 6),
            "seconds": round(self.seconds, 1),
            "parts": [
                {
                    "name": part.name,
                    "quantity": round(part.quantity, 3),
                    "unit": part.unit,
                    "usd": round(part.usd, 6),
                    "least_usd": round(part.usd * part.least_share, 6),
                    "seconds": round(part.seconds, 1),
                }
                for part in self.parts
            ],
        }


def estimate_run(
    objects: Iterable[tuple[str, int]],
    *,
    instance_type: str,
    prices: PriceList,
    rates: Rates,
    max_training_s: float = math.inf,
    transitions: int | None = None,
    preparation_vcpus: float = 1.0,
    spot_interruptions: int = 0,
    tuning_s: float = 0.0,
    instances: int = 1,
) -> RunEstimate:
    """Estimate a run that trains on these objects and is deployed.

    Args:
        objects: key and size in bytes of each.
        max_training_s: training is stopped there, so it costs no more.
        transitions: of the state machines; by default no fewer than it has without a detour.
        preparation_vcpus: how many vCPUs the preparation has; changes its time, not its price.
        spot_interruptions: `TrainingSpot`; 0 is on demand.
        tuning_s: what searching hyperparameters takes at most.
        instances: that train together.

    Raises:
        UnknownPrice: the instance type's price is not known.
    """
    mb = sum(rates.csv_mb(key, size) for key, size in objects)
    cpu_s = mb / rates["prepare.csv_mb_per_cpu_s"]
    prepare_gb_s = cpu_s * LAMBDA_VCPU_GB
    others_gb_s = rates["run.functions_s"] * LAMBDA_VCPU_GB
    reads, writes = object_requests(mb, rates)
    training_s = training_seconds(mb, rates, instances) + tuning_s
    undisturbed_s = min(training_s, max_training_s)
    billed_s, least_share = billed_training(undisturbed_s, max_training_s, spot_interruptions)
    volume = instances * TRAINING_VOLUME_GB * billed_s / 3600 / HOURS_A_MONTH
    steps = rates["run.transitions"] if transitions is None else transitions
    instance = prices.instance(instance_type)
    parts = (
        Part(
            "Lambda: preparation",
            prepare_gb_s,
            "GB-s",
            prices["lambda.gb_second"].of(prepare_gb_s),
            cpu_s / preparation_vcpus,
        ),
        Part("Lambda: everything else", others_gb_s, "GB-s", prices["lambda.gb_second"].of(others_gb_s)),
        Part("S3: reads", reads, "requests", prices["s3.read"].of(reads)),
        Part("S3: writes", writes, "requests", prices["s3.write"].of(writes)),
        Part("Step Functions", steps, "transitions", prices["states.transition"].of(steps)),
        Part(
            f"Training on {f'{instances} × ' if instances > 1 else ''}{instance_type}",
            instances * billed_s / 60,
            "minutes",
            instance.of(instances * billed_s / 3600),
            undisturbed_s,
            least_share,
        ),
        Part(
            "Training volume",
            volume,
            "GB-months",
            prices["sagemaker.volume_gb_month"].of(volume),
            least_share=undisturbed_s / billed_s,
        ),
    )
    return RunEstimate(mb, instance_type, training_memory_mb(mb, rates, instances), parts)


def object_requests(csv_mb: float, rates: Rates) -> tuple[int, int]:
    """How many S3 requests of a run read, and how many write."""
    blocks = math.ceil(csv_mb / rates["prepare.block_mb"])
    return blocks * (_READS_OF_THE_INPUT + _SPLITS) + _OTHER_READS, blocks * _SPLITS + _OTHER_WRITES


def training_seconds(csv_mb: float, rates: Rates, instances: int = 1) -> float:
    """Billed seconds of each instance: its start, what does not depend on the data, and what does."""
    share = TOGETHER / instances if instances > 1 else 1.0
    return rates["train.start_s"] + rates["train.fixed_s"] + share * rates["train.s_per_csv_mb"] * csv_mb


def training_memory_mb(csv_mb: float, rates: Rates, instances: int = 1) -> float:
    """Megabytes that each instance has in memory: libraries and pieces, and what grows with its rows."""
    return rates["train.fixed_memory_mb"] + rates["train.memory_mb_per_csv_mb"] * csv_mb / instances


def billed_training(job_s: float, max_job_s: float, spot_interruptions: int) -> tuple[float, float]:
    """Return the seconds of a job that are billed at most, and which share of their price is the least.

    Spot capacity never costs more than on demand. In the worst case every interruption comes at the end of
    the job, and what then runs on demand begins again.

    Args:
        job_s: of one job without interruptions.
        max_job_s: it may run so long; twice as long with interruptions.
        spot_interruptions: `TrainingSpot`; 0 is on demand.

    >>> billed_training(600, 3600, 0), billed_training(600, 3600, 2), billed_training(3600, 3600, 9)
    ((600, 1.0), (1800, 0.03333333333333333), (10800, 0.03333333333333333))
    """
    if not spot_interruptions:
        return job_s, 1.0
    most_s = min(spot_interruptions * job_s, 2 * max_job_s) + job_s
    return most_s, SPOT_LEAST_SHARE * job_s / most_s


def refuse_above(estimate: RunEstimate, maximum_usd: float) -> None:
    """Hold a run to the cap; 0 is no cap.

    Raises:
        RunTooExpensive: it is estimated to cost more.
    """
    if not maximum_usd or estimate.usd <= maximum_usd:
        return
    dearest = max(estimate.parts, key=lambda part: part.usd)
    interrupted = " if TrainingSpot's interruptions come late" if dearest.least_share < 1 else ""
    raise RunTooExpensive(
        f"The run is estimated to cost {estimate.usd:.2f} USD ({estimate.input_mb:,.0f} MB of CSV; "
        f"{dearest.name}: {dearest.usd:.2f} USD{interrupted}), and MaximumRunCostUSD is {maximum_usd:g}. "
        "Nothing was "
        f"prepared or trained. Deploy with MaximumRunCostUSD={_above(estimate.usd)} or 0, or a cheaper "
        "instance type, and drop the file again; or drop less."
    )


@dataclass(frozen=True)
class CostCap:
    """What one run may be estimated to cost, and what the estimate needs to know.

    Attributes:
        maximum_usd: 0 is no cap.
        instance_type: the first that training tries.
        max_training_s: training is stopped there.
        spot_interruptions: `TrainingSpot`; 0 is on demand.
        tuning_s: what searching hyperparameters takes at most.
        instances: that train together.
    """

    maximum_usd: float = 0.0
    instance_type: str = ""
    region: str = DEFAULT_REGION
    max_training_s: float = math.inf
    spot_interruptions: int = 0
    tuning_s: float = 0.0
    instances: int = 1

    def refusal(self, objects: Sequence[ObjectRef]) -> PermanentError | None:
        """Why a run on these objects is not to start; None where it may. Labelled predictions don't count."""
        if not self.maximum_usd:
            return None
        try:
            estimate = estimate_run(
                [(each.key, each.size or 0) for each in objects],
                instance_type=self.instance_type,
                prices=load_prices(self.region),
                rates=load_rates(),
                max_training_s=self.max_training_s,
                spot_interruptions=self.spot_interruptions,
                tuning_s=self.tuning_s,
                instances=self.instances,
            )
            refuse_above(estimate, self.maximum_usd)
        except (RunTooExpensive, UnknownPrice) as error:
            return error
        return None


def _above(usd: float) -> str:
    """A round cap just above the price.

    >>> _above(0.412), _above(17.3)
    ('0.42', '18')
    """
    return f"{math.ceil(usd * 100) / 100:.2f}" if usd < 10 else str(math.ceil(usd))
