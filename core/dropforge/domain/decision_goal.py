"""What a decision threshold is to serve: the costs of both errors, or a least precision or recall.

Apart from the choosing, so that a function which only checks parameters need not load numpy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dropforge.domain.errors import InvalidDecisionGoal


@dataclass(frozen=True, slots=True)
class Goal:
    """Costs of both errors in any unit, the same for both; or minima; never both kinds.

    Raises:
        InvalidDecisionGoal: it is neither, or a number is out of its bounds; all problems are named.
    """

    false_positive_cost: float | None = None
    false_negative_cost: float | None = None
    minimum_precision: float | None = None
    minimum_recall: float | None = None

    def __post_init__(self) -> None:
        costs = {
            "FalsePositiveCost": self.false_positive_cost,
            "FalseNegativeCost": self.false_negative_cost,
        }
        minima = {"MinimumPrecision": self.minimum_precision, "MinimumRecall": self.minimum_recall}
        problems = [
            f"{name} is {value:g}; it must be above 0, since an error that costs nothing is always made"
            for name, value in costs.items()
            if value is not None and not (math.isfinite(value) and value > 0)
        ]
        problems += [
            f"{name} is {value:g}; it must be above 0 and at most 1"
            for name, value in minima.items()
            if value is not None and not 0 < value <= 1
        ]
        given = [name for name, value in costs.items() if value is not None]
        if len(given) == 1:
            other = next(name for name in costs if name not in given)
            problems.append(f"{given[0]} is set and {other} isn't; set both, or leave both empty")
        least = [name for name, value in minima.items() if value is not None]
        if given and least:
            problems.append(
                f"{' and '.join([*given, *least])} are set; a threshold is chosen by costs or by minima"
            )
        if problems:
            raise InvalidDecisionGoal(f"The decision threshold: {'; '.join(problems)}.")
        if not given and not least:
            raise InvalidDecisionGoal("The decision threshold: neither costs nor minima are set.")

    @classmethod
    def of(
        cls,
        false_positive_cost: float | None,
        false_negative_cost: float | None,
        minimum_precision: float | None,
        minimum_recall: float | None,
    ) -> Goal | None:
        """Return the goal; None where nothing is set."""
        values = (false_positive_cost, false_negative_cost, minimum_precision, minimum_recall)
        return None if all(value is None for value in values) else cls(*values)

    @property
    def has_costs(self) -> bool:
        """Whether it is about costs; else it is about minima."""
        return self.false_positive_cost is not None

    @property
    def has_both_minima(self) -> bool:
        """Whether precision and recall have a minimum."""
        return self.minimum_precision is not None and self.minimum_recall is not None

    @property
    def expected_threshold(self) -> float:
        """The probability from which calling a row costs less than not calling it; 0.5 without costs."""
        if self.false_positive_cost is None or self.false_negative_cost is None:
            return 0.5
        return self.false_positive_cost / (self.false_positive_cost + self.false_negative_cost)

    def cost_of(self, false_positives: Any, false_negatives: Any) -> Any:
        """Return what errors cost, numbers or arrays of them. Only where it has costs."""
        return (self.false_positive_cost or 0.0) * false_positives + (
            self.false_negative_cost or 0.0
        ) * false_negatives

    def to_dict(self) -> dict[str, float]:
        """Return what is set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Wish:
    """A goal, and for which class; None for that of code 1. It travels as a job's hyperparameter."""

    goal: Goal
    positive: str | None = None

    def to_json(self) -> str:
        """Return one spelling of it."""
        values: dict[str, Any] = {**self.goal.to_dict(), "positive_class": self.positive}
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Wish:
        """Read what `to_json` made.

        Raises:
            InvalidDecisionGoal: it is none.
        """
        try:
            values = json.loads(text)
            positive = values.pop("positive_class")
            return cls(Goal(**{name: float(value) for name, value in values.items()}), positive)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidDecisionGoal(
                f"The decision threshold: {text[:200]!r} is no goal ({error!r})."
            ) from error

    def positive_of(self, task: str, classes: Sequence[str] | None, target: str) -> str:
        """Return the class that is looked for.

        Raises:
            InvalidDecisionGoal: the target hasn't two classes, or none of that name.
        """
        if task != "binary" or classes is None:
            raise InvalidDecisionGoal(
                f"A decision threshold needs two classes, but the task of {target!r} is {task}. Leave "
                "FalsePositiveCost, FalseNegativeCost, MinimumPrecision and MinimumRecall empty."
            )
        positive = classes[1] if self.positive is None else self.positive
        if positive not in classes:
            raise InvalidDecisionGoal(f"{positive!r} is no class of {target!r}: {', '.join(classes)}.")
        return positive
