"""Which metrics there are, which way each is better, and how a training job prints them.

Apart from the computing of them, so that a function which only names metrics need not load numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropforge.domain.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of quality: its name in every file, and whether more of it is better."""

    name: str
    greater_is_better: bool
    family: str

    def gain(self, value: Any, over: Any) -> Any:
        """Return how much better `value` is than `over`, numbers or arrays of them; positive is better."""
        return value - over if self.greater_is_better else over - value

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1 and is made of single rows' rights and wrongs, as a share is."""
        return self.family in ("ranking", "counts")


METRICS: Mapping[str, Mapping[str, Metric]] = {
    task: {
        name: Metric(name, greater_is_better, family)
        for family, greater_is_better, names in families
        for name in names
    }
    for task, families in {
        "binary": (
            ("ranking", True, ("auc", "average_precision")),
            ("counts", True, ("accuracy", "balanced_accuracy", "precision", "recall", "f1")),
            ("probabilities", False, ("log_loss", "brier")),
        ),
        "multiclass": (
            ("ranking", True, ("auc",)),
            (
                "counts",
                True,
                ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"),
            ),
            ("probabilities", False, ("log_loss",)),
        ),
        "regression": (
            ("squares", True, ("r2",)),
            ("squares", False, ("rmse", "mse")),
            ("absolutes", False, ("mae", "median_absolute_error")),
        ),
    }.items()
}
"""The metrics of each task. In a binary task the positive class is code 1. Labels are the class of highest
probability, or what the model's decision threshold makes of it. ``auc`` of a multiclass task is the mean over
classes of one against the rest."""

OF_A_CLASS = frozenset({"precision", "recall", "f1", "average_precision"})
"""Metrics of two classes that are other ones where the other class is the positive one."""


def metric_title(name: str, positive: str | None) -> str:
    """Return a metric's name as people read it, with the class that it was measured for.

    >>> metric_title("f1", "fraud"), metric_title("auc", "fraud"), metric_title("f1", None)
    ("f1 of 'fraud'", 'auc', 'f1')
    """
    return f"{name} of {positive!r}" if positive is not None and name in OF_A_CLASS else name


MEANINGS: Mapping[str, str] = {
    "auc": "chance that a random positive is scored above a random negative",
    "average_precision": "precision averaged over recall; its base line is the share of positives",
    "accuracy": "share of rows that get the right class",
    "balanced_accuracy": "mean over classes of the share found",
    "precision": "share of predicted positives that are positive",
    "recall": "share of positives that are found",
    "f1": "harmonic mean of precision and recall",
    "macro_precision": "precision, every class counting alike",
    "macro_recall": "recall, every class counting alike",
    "macro_f1": "F1, every class counting alike",
    "log_loss": "punishes confident errors; 0 is perfect",
    "brier": "mean squared error of the probability; 0 is perfect",
    "r2": "share of the variance explained",
    "rmse": "typical error, in the target's unit; large errors count more",
    "mse": "mean squared error",
    "mae": "mean absolute error, in the target's unit",
    "median_absolute_error": "half of the errors are smaller",
}
"""What each says, for the person who decides by it."""

DEFAULT_METRIC: Mapping[str, str] = {"binary": "auc", "multiclass": "accuracy", "regression": "r2"}


def metric_named(task: str, name: str) -> Metric:
    """Return a task's metric; ``auto`` gives its default.

    Raises:
        InvalidSettings: the task has no such metric; the message names those it has.
    """
    name = DEFAULT_METRIC[task] if name == "auto" else name
    if name not in METRICS[task]:
        known = ", ".join(METRICS[task])
        raise InvalidSettings(f"metric {name!r} is none of a {task} task's: auto, {known}.")
    return METRICS[task][name]


METRIC_NAMES = tuple(dict.fromkeys(name for metrics in METRICS.values() for name in metrics))

METRIC_DEFINITIONS = tuple(
    {"Name": f"validation:{name}", "Regex": rf"validation:{name}=([-+0-9.eE]+);"} for name in METRIC_NAMES
)
"""``AlgorithmSpecification.MetricDefinitions`` of the training job: every metric of every task, measured on
the validation split. SageMaker allows 40 of them and takes group 1 as the value."""


def metric_line(name: str, value: float) -> str:
    """Return the log line that METRIC_DEFINITIONS finds; an undefined value is spelled so that none does."""
    return f"validation:{name}={value:.9g};" if math.isfinite(value) else f"validation:{name}: undefined"
