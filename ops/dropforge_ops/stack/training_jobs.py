"""The training jobs of a run: how long each ran, what of that was billed, and what Spot capacity saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from botocore.exceptions import ClientError

from dropforge.domain.errors import UnknownPrice
from dropforge.domain.figures import percent
from dropforge.pricing.prices import load_prices
from dropforge_ops.errors import code_of
from dropforge_ops.render import duration
from dropforge_ops.stack.target import Target

_DENIED: Final = ("AccessDeniedException", "AccessDenied")


@dataclass(frozen=True)
class TrainingJob:
    """One attempt at training.

    Attributes:
        interruptions: how often Spot capacity was taken away.
        ran_s, billed_s: TrainingTimeInSeconds and BillableTimeInSeconds, each of one instance; None until the
            job has ended. What Spot capacity costs less than on demand is taken off the billed ones:
            https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
        usd: what is billed, at list price; None where that is not known.
    """

    name: str
    status: str
    instance_type: str
    instances: int
    is_spot: bool
    interruptions: int
    ran_s: int | None
    billed_s: int | None
    usd: float | None

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Read what DescribeTrainingJob answers."""
        resources = described["ResourceConfig"]
        kind, count = str(resources["InstanceType"]), int(resources["InstanceCount"])
        billed_s = described.get("BillableTimeInSeconds")
        region = str(described["TrainingJobArn"]).split(":")[3]
        usd = None
        if billed_s is not None:
            try:
                usd = load_prices(region).instance(kind).of(billed_s * count / 3600)
            except UnknownPrice:
                usd = None
        steps = described.get("SecondaryStatusTransitions") or []
        return cls(
            name=str(described["TrainingJobName"]),
            status=str(described["TrainingJobStatus"]),
            instance_type=kind,
            instances=count,
            is_spot=bool(described.get("EnableManagedSpotTraining")),
            interruptions=sum(each["Status"] == "Interrupted" for each in steps),
            ran_s=described.get("TrainingTimeInSeconds"),
            billed_s=billed_s,
            usd=usd,
        )

    @property
    def saved(self) -> float | None:
        """The share of the price on demand that Spot capacity saved; None on demand."""
        if not (self.is_spot and self.ran_s and self.billed_s is not None):
            return None
        return 1 - self.billed_s / self.ran_s

    @property
    def in_words(self) -> str:
        """What it ran on, for how long, and what that cost."""
        times = f"{self.instances} × " if self.instances > 1 else ""
        told = [f"{times}{self.instance_type}{' on Spot capacity' if self.is_spot else ''}"]
        if self.interruptions:
            told.append(f"interrupted {self.interruptions} time{'s' if self.interruptions > 1 else ''}")
        if self.status != "Completed":
            told.append("in progress" if self.status == "InProgress" else self.status.lower())
        if self.ran_s is not None:
            told.append(f"ran {duration(self.ran_s)}")
        if self.saved is not None and self.billed_s is not None:
            told.append(f"billed {duration(self.billed_s)}, {percent(self.saved)} saved")
        if self.usd is not None:
            told.append(f"{self.usd:.4f} USD at list price")
        return ", ".join(told)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "saved": self.saved}


def read_training_jobs(target: Target, run_id: str) -> tuple[TrainingJob, ...] | None:
    """Read the jobs of a run, the first attempt first; None where whoever asks may not see jobs."""
    sagemaker = target.client("sagemaker")
    prefix = f"{target.outputs['ModelName']}-{run_id}-a"
    try:
        pages = sagemaker.get_paginator("list_training_jobs").paginate(
            NameContains=prefix, SortBy="CreationTime", SortOrder="Ascending"
        )
        names = [each["TrainingJobName"] for page in pages for each in page["TrainingJobSummaries"]]
        return tuple(
            TrainingJob.of(sagemaker.describe_training_job(TrainingJobName=name))
            for name in names
            if name.startswith(prefix)
        )
    except ClientError as error:
        if code_of(error) not in _DENIED:
            raise
        return None
