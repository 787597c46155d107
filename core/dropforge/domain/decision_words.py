"""How a decision threshold is told, wherever a person reads of it.

Apart from the measuring, so that a function which only words it need not load numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropforge.domain.figures import UNDEFINED, figure, told_apart


def decision_in_words(decision: Mapping[str, Any]) -> list[str]:
    """Say what the entry ``decision`` of ``judgement.json`` says, a sentence each."""
    positive, chosen, argmax = decision["positive_class"], decision["chosen"], decision["argmax"]
    told = [f"A row is called {positive!r} from a probability of {figure(decision['threshold'])} on."]
    if chosen["cost_per_1000"] is not None:
        ours, theirs = _spans(chosen["cost_per_1000"], argmax["cost_per_1000"])
        told.append(
            f"Errors cost {ours} per 1,000 rows of the hold-out. With the likelier class as the label they "
            f"would cost {theirs}."
        )
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


def _spans(*intervals: Mapping[str, Any]) -> list[str]:
    """Write intervals that are read beside each other."""
    texts = told_apart(*(each[end] for each in intervals for end in ("value", "low", "high")))
    return [_span(*texts[place : place + 3]) for place in range(0, len(texts), 3)]


def _span(value: str, low: str, high: str) -> str:
    return value if UNDEFINED in (low, high) else f"{value} [{low}, {high}]"
