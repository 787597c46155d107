"""How slices of the hold-out are told, wherever a person reads of them.

Apart from the measuring, so that what only words them need not load numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dropforge.domain import figures

WHAT_HELPS: Final = "More hold-out rows of such a slice would tell, or a column with fewer, larger slices."
"""What those are told who wonder at a slice without a verdict, or without a figure."""

_NAMED: Final = 5
"""Slices that a sentence names; the others are counted."""


def slices_told(slices: Sequence[Mapping[str, Any]], title: str) -> list[str]:
    """Return what reviewers are told of guarded slices: a few lines, however many there are.

    Args:
        slices: the entries of ``judgement.json``.
        title: of the deciding metric.
    """
    found = [each for each in slices if each.get("guarded")]
    if not found:
        return []
    valued = sorted((each for each in found if each["value"] is not None), key=lambda each: each["value"])
    line = "Guarded slices:"
    if valued:
        ends = figures.told_apart(valued[0]["value"], valued[-1]["value"])
        least, most = (
            f"{text} ({each['slice']} is {each['label']!r})"
            for text, each in zip(ends, (valued[0], valued[-1]), strict=True)
        )
        line += f" {title} from {least} to {most}."
    undefined = [each for each in found if each["value"] is None]
    if undefined:
        line += f" {title} is undefined in {len(undefined)} ({_named(undefined, 'untold')})."
    verdicts = [each["verdict"] for each in found]
    compared = verdicts.count("holds") + verdicts.count("worse")
    if compared:
        line += f" {compared} compared with the live model, {verdicts.count('worse') or 'none'} worse beyond"
        line += " chance."
    # What is undefined can't be compared either, and needs no second reason.
    small = [each for each in found if each["verdict"] == "cant_say" and each["value"] is not None]
    if small:
        line += f" {len(small)} can't be compared ({_named(small, 'shortage')})."
    return [f"{line} {WHAT_HELPS}" if undefined or small else line]


def named_slices(slices: Sequence[tuple[str, str, str]]) -> str:
    """Name slices with why they say nothing: column, label and reason each; of many the first.

    >>> named_slices([("region", "east", "it takes 30 rows, and there are 12")])
    "region is 'east': it takes 30 rows, and there are 12"
    """
    named = "; ".join(f"{column} is {label!r}: {why}" for column, label, why in slices[:_NAMED])
    more = len(slices) - _NAMED
    return f"{named}; and {more:,} more" if more > 0 else named


def _named(slices: Sequence[Mapping[str, Any]], why: str) -> str:
    return named_slices([(each["slice"], each["label"], str(each[why])) for each in slices])
