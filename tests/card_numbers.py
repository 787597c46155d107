"""Whether every number of a model card is one of the documents that its run left."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from dropforge.domain.figures import DIGITS, figure
from dropforge.domain.model_card import DOCUMENTS, Identity, RunDocuments

_NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
_OURS = {"95"}
"""The confidence of intervals, which a text says in percent."""


def leaves(found: Any) -> Iterator[Any]:
    """The values of a document, and how long its lists are."""
    if isinstance(found, dict):
        for value in found.values():
            yield from leaves(value)
    elif isinstance(found, list):
        yield len(found)
        for value in found:
            yield from leaves(value)
    else:
        yield found


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers_of(found: RunDocuments) -> tuple[set[float], set[str]]:
    """The numbers of the documents, and every spelling that the card's texts may have of them."""
    every = [each for name in DOCUMENTS for each in leaves(getattr(found, name))]
    numbers = {float(each) for each in every if is_number(each) and math.isfinite(each)}
    spelled = {token for each in every if isinstance(each, str) for token in _NUMBER.findall(each)}
    for each in numbers:
        spelled |= {
            figure(each, digits=digits, signed=s) for digits in range(DIGITS, 18) for s in (False, True)
        }
        spelled |= {str(each), f"{each:,.0f}", f"{each:.0f}"}
    if choice := ((found.judgement or {}).get("decision") or {}).get("chosen_on"):
        spelled.add(f"{choice['rows'] - choice['positives']:,}")
    features = [each for each in (found.contract or {}).get("columns", []) if each["role"] == "feature"]
    return numbers, spelled | {str(len(features))} | _OURS


def check_numbers(content: Any, identity: Identity, found: RunDocuments) -> None:
    numbers, spelled = numbers_of(found)
    own = set(_NUMBER.findall(json.dumps([*vars(identity).values()])))
    for each in leaves(content):
        if isinstance(each, str):
            unknown = set(_NUMBER.findall(each)) - spelled - own
            assert not unknown, f"{unknown} of {each!r} is in no document"
    for each in values_of(content):
        assert float(each) in numbers, f"{each} is in no document"


def values_of(found: Any) -> Iterator[float]:
    """The numbers that a card holds as numbers."""
    if isinstance(found, dict):
        for value in found.values():
            yield from values_of(value)
    elif isinstance(found, list):
        for value in found:
            yield from values_of(value)
    elif is_number(found):
        yield found
