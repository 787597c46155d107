"""The decision threshold of two classes: from which probability on a row is called positive.

Without one the class of the highest probability is the label. Where errors have unequal costs, or a class is
rare, that label is the wrong one for most rows that matter (Elkan 2001, The Foundations of Cost-Sensitive
Learning).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.compiled import TOLERANCE
from dropforge.domain.decision_goal import Goal
from dropforge.domain.errors import InvalidDecisionGoal, InvalidModel
from dropforge.domain.intervals import CONFIDENCE
from dropforge.domain.shares import share_limits

FILE_NAME = "threshold.json"
"""Of a model's archive; a model without it, such as one of an earlier release, has no threshold."""

FORMAT = 1

LEAST_GAP = 8 * TOLERANCE
"""Between two scores that a threshold may lie between: so that the compiled form and the estimator, which
differ by a TOLERANCE at most, fall on the same side."""

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Choice:
    """How a threshold did on the rows that it was chosen on.

    Attributes:
        rows, positives: how many there were.
        source: ``out-of-fold`` or ``validation``, see `chosen_threshold` in training.
        precision, recall: at the threshold.
        cost_per_1000: of 1,000 such rows, None where the goal has no costs.
        reached: whether the goal's minima are met; otherwise it is the threshold that comes nearest.
    """

    rows: int
    positives: int
    source: str
    precision: float
    recall: float
    cost_per_1000: float | None
    reached: bool


@dataclass(frozen=True, slots=True)
class DecisionThreshold:
    """A row is called `positive` if the probability of that class reaches `value`, but for a TOLERANCE.

    So a row that lies on the threshold itself gets one label, whichever form of the model has scored it.
    """

    positive: str
    value: float
    goal: Goal
    choice: Choice

    def labels(self, classes: Sequence[str], scores: Floats) -> Codes:
        """Return the code of each row's label, int64 (n,).

        Args:
            classes: two, by code; `positive` is one of them.
            scores: float64 probabilities (n, 2), in the order of the classes.
        """
        code = list(classes).index(self.positive)
        return np.where(scores[:, code] >= self.value - TOLERANCE, code, 1 - code).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, as JSON holds it."""
        return {
            "format": FORMAT,
            "positive_class": self.positive,
            "threshold": self.value,
            "goal": self.goal.to_dict(),
            "chosen_on": asdict(self.choice),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DecisionThreshold:
        """Read what `to_dict` made.

        Raises:
            InvalidModel: it is of another format, or no threshold.
        """
        try:
            if raw["format"] != FORMAT:
                raise InvalidModel(f"{FILE_NAME} has the format {raw['format']!r}, not {FORMAT}.")
            found = cls(
                str(raw["positive_class"]),
                float(raw["threshold"]),
                Goal(**raw["goal"]),
                Choice(**raw["chosen_on"]),
            )
        except (KeyError, TypeError, ValueError, InvalidDecisionGoal) as error:
            raise InvalidModel(f"{FILE_NAME} can't be read ({error!r}); train the model again.") from error
        if not 0 <= found.value <= 1:
            raise InvalidModel(f"{FILE_NAME}: the threshold {found.value!r} is no probability.")
        return found

    @classmethod
    def read(cls, folder: Path, classes: Sequence[str] | None) -> DecisionThreshold | None:
        """Read the threshold of an unpacked model; None where it has none.

        Args:
            folder: the model's.
            classes: of the model's contract.

        Raises:
            InvalidModel: the file is no threshold of this model.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            found = cls.from_dict(json.loads(path.read_bytes()))
        except ValueError as error:
            raise InvalidModel(f"{FILE_NAME} is no JSON ({error}); train the model again.") from error
        if classes is None or len(classes) != 2 or found.positive not in classes:
            raise InvalidModel(
                f"{FILE_NAME} is for the class {found.positive!r}, which is none of two of the contract's."
            )
        return found


def choose(
    goal: Goal, positive: str, scores: Floats, is_positive: NDArray[np.bool_], source: str
) -> DecisionThreshold:
    """Return the threshold that serves the goal best on some rows.

    With costs it is the share that a false positive has of both costs, which is best where probabilities are
    right, unless another is the cheapest here and the rows between both speak for it beyond chance: to take
    the cheapest anyhow costs more on new rows, where a class has few of them. With minima it is, of those
    that meet them, the one of the highest recall (for a minimum of precision), of the highest
    precision (for a minimum of recall), or of the highest f1 (for both). Where none meets them it is the one
    that falls short by the least.

    Args:
        goal: what to serve.
        positive: the class that is looked for.
        scores: float64 (n,), the probabilities of that class, by a model that has not learned from the rows.
        is_positive: bool (n,), whether a row is of that class.
        source: what to write down of where the scores come from.
    """
    value = _of_costs(goal, scores, is_positive) if goal.has_costs else _of_minima(goal, scores, is_positive)
    called = scores >= value - TOLERANCE
    rows, positives, hits = len(scores), int(is_positive.sum()), int((called & is_positive).sum())
    precision, recall = hits / max(int(called.sum()), 1), hits / max(positives, 1)
    cost = None
    if goal.has_costs:
        errors = int((called & ~is_positive).sum()), positives - hits
        cost = 1000 * float(goal.cost_of(*errors)) / max(rows, 1)
    reached = precision >= (goal.minimum_precision or 0) and recall >= (goal.minimum_recall or 0)
    choice = Choice(rows, positives, source, precision, recall, cost, reached)
    return DecisionThreshold(positive, value, goal, choice)


def _of_costs(goal: Goal, scores: Floats, is_positive: NDArray[np.bool_]) -> float:
    expected = goal.expected_threshold
    values, called, hits = operating_points(scores, is_positive)
    costs = goal.cost_of(called - hits, int(is_positive.sum()) - hits)
    # The first of equals, from the expected one on: a plateau's nearest end says the least that is new.
    best = float(values[np.lexsort((np.abs(values - expected), costs))[0]])
    # To call a row is cheaper exactly where positives are more than the expected share of such rows.
    between = (scores >= expected - TOLERANCE) != (scores >= best - TOLERANCE)
    low, high = share_limits(int((between & is_positive).sum()), int(between.sum()), CONFIDENCE)
    return best if (high < expected if best > expected else low > expected) else expected


def _of_minima(goal: Goal, scores: Floats, is_positive: NDArray[np.bool_]) -> float:
    values, called, hits = operating_points(scores, is_positive)
    positives = int(is_positive.sum())
    precision, recall = hits / np.maximum(called, 1), hits / max(positives, 1)
    short_of = np.maximum((goal.minimum_precision or 0) - precision, (goal.minimum_recall or 0) - recall)
    worth, other = (precision, recall) if goal.minimum_precision is None else (recall, precision)
    if goal.has_both_minima:
        worth = 2 * hits / np.maximum(called + positives, 1)
    return float(values[np.lexsort((-other, -worth, np.maximum(short_of, 0)))[0]])


def operating_points(scores: Floats, is_positive: NDArray[np.bool_]) -> tuple[Floats, Codes, Codes]:
    """Return the thresholds that tell rows apart, and how many rows and positives reach each.

    They rise, from 0, which every row reaches, to one that none does where there is room for it. Each lies
    between two scores, at the shortest decimal number in the middle half of the gap; scores that are closer
    to each other than LEAST_GAP aren't told apart.

    Args:
        scores: float64 (n,), each in [0, 1].
        is_positive: bool (n,).

    Returns:
        float64 and int64 (n_thresholds,).

    Example:
        >>> thresholds, called, hits = operating_points(np.array([0.2, 0.7]), np.array([False, True]))
        >>> thresholds.tolist(), called.tolist(), hits.tolist()
        ([0.0, 0.5, 0.8], [2, 1, 0], [1, 1, 0])
    """
    order = np.argsort(scores, kind="stable")
    ordered, n = scores[order], len(scores)
    below = np.concatenate([[0], np.cumsum(is_positive[order])]).astype(np.int64)
    ends = np.concatenate([ordered, [1.0]]) if n else np.ones(1)
    cuts = np.flatnonzero(ends[1:] - ends[:-1] > LEAST_GAP) + 1
    values = [0.0, *(_short_number(ends[cut - 1], ends[cut]) for cut in cuts.tolist())]
    places = np.concatenate([[0], cuts]).astype(np.int64)
    return np.array(values), n - places, below[-1] - below[places]


def _short_number(low: float, high: float) -> float:
    """Return the decimal number of the fewest digits in the middle half between two numbers.

    >>> _short_number(0.0312, 0.0338), _short_number(0.2, 0.7)
    (0.032, 0.5)
    """
    middle, quarter = (low + high) / 2, (high - low) / 4
    for digits in range(1, 17):
        number = round(middle, digits)
        if abs(number - middle) <= quarter:
            return number
    return middle
