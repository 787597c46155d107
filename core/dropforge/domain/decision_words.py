"""How a decision threshold is told, wherever a person reads of it.

Apart from the measuring, so that a function which only words it need not load numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dropforge.domain.figures import UNDEFINED, figure, told_apart

FEW: Final = 30
"""Rows of the rarer class below which a threshold is known roughly: 30 tell a recall to 15 points."""

_SOURCES: Final[Mapping[str, str]] = {
    "out-of-fold": "training and validation rows, each scored by a model that had not learned from it",
    "validation": "validation rows",
}


def decision_in_words(decision: Mapping[str, Any]) -> list[str]:
    """Say what the entry ``decision`` of ``judgement.json`` says, a sentence each."""
    positive, chosen, argmax = decision["positive_class"], decision["chosen"], decision["argmax"]
    told = [
        f"A row is called {positive!r} from a probability of {figure(decision['threshold'])} on.",
        _chosen_in_words(decision["chosen_on"], positive),
    ]
    if chosen["cost_per_1000"] is not None:
        ours, theirs = _spans(chosen["cost_per_1000"], argmax["cost_per_1000"])
        told.append(
            f"Errors cost {ours} per 1,000 rows of the hold-out. With the likelier class as the label they "
            f"would cost {theirs}."
        )
        if (saving := decision.get("saving_per_1000")) is not None and saving["value"]:
            told.append(f"On the same rows that {_saved(saving)}.")
        live = (decision.get("champion") or {}).get("cost_per_1000")
        if live is not None:
            told.append(f"The live model's labels cost {_spans(live)[0]} there.")
    else:
        (precision,), (recall,) = _spans(chosen["precision"]), _spans(chosen["recall"])
        likelier = (
            f"no row would be called {positive!r}"
            if argmax["precision"]["value"] is None
            else "they would be "
            f"{figure(argmax['precision']['value'])} and {figure(argmax['recall']['value'])}"
        )
        told.append(
            f"On the hold-out its precision is {precision} and its recall {recall}. With the likelier class "
            f"as the label {likelier}."
        )
    return told


def few_positives(decision: Mapping[str, Any]) -> str | None:
    """Return what limits a threshold that was chosen on few rows of a class; None where there are enough."""
    choice = decision["chosen_on"]
    rarer = min(choice["positives"], choice["rows"] - choice["positives"])
    if rarer >= FEW:
        return None
    return (
        f"The decision threshold was chosen on {rarer:,} row{'' if rarer == 1 else 's'} of the rarer class: "
        "which one is best is known roughly. More rows of that class would tell."
    )


def goal_in_words(goal: Mapping[str, float]) -> str:
    """Say what a threshold serves: the members of `Goal.to_dict`.

    >>> goal_in_words({"false_positive_cost": 1.0, "false_negative_cost": 50.0})
    'a false alarm costs 1, a miss 50'
    >>> goal_in_words({"minimum_precision": 0.9, "minimum_recall": 0.5})
    'a precision of at least 0.9, a recall of at least 0.5'
    """
    if "false_positive_cost" in goal:
        costs = goal["false_positive_cost"], goal["false_negative_cost"]
        return f"a false alarm costs {figure(costs[0])}, a miss {figure(costs[1])}"
    minima = {"precision": goal.get("minimum_precision"), "recall": goal.get("minimum_recall")}
    return ", ".join(f"a {name} of at least {figure(least)}" for name, least in minima.items() if least)


def _chosen_in_words(choice: Mapping[str, Any], positive: str) -> str:
    """Say on which rows a threshold was chosen, and how many of them were of the rarer class."""
    positives, negatives = choice["positives"], choice["rows"] - choice["positives"]
    rarer, what = min((positives, repr(positive)), (negatives, f"not {positive!r}"))
    counted = f"{f'{rarer:,}' if rarer else 'none'} of them {'is' if rarer < 2 else 'are'} {what}"
    return f"That was chosen on {choice['rows']:,} {_SOURCES[choice['source']]}; {counted}."


def _saved(saving: Mapping[str, Any]) -> str:
    if saving["value"] > 0:
        return f"saves {_spans(saving)[0]}"
    ends = {"value": "value", "low": "high", "high": "low"}
    loss = {name: None if saving[end] is None else -saving[end] for name, end in ends.items()}
    return f"costs {_spans(loss)[0]} more"


def _spans(*intervals: Mapping[str, Any]) -> list[str]:
    """Write intervals that are read beside each other."""
    texts = told_apart(*(each[end] for each in intervals for end in ("value", "low", "high")))
    return [_span(*texts[place : place + 3]) for place in range(0, len(texts), 3)]


def _span(value: str, low: str, high: str) -> str:
    return value if UNDEFINED in (low, high) else f"{value} [{low}, {high}]"
