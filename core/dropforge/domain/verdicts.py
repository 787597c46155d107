"""What the gate may say of a candidate.

Apart from how it comes to say so, so that a function which only reads a verdict need not load numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What the gate says of a candidate."""

    ACCEPTED = "accepted"
    """Good enough to be put before a reviewer."""

    REJECTED = "rejected"
    """Not good enough; the live model stays."""

    UNDECIDED = "undecided"
    """The hold-out can't tell. It is put before a reviewer, who may approve it with a reason."""

    @classmethod
    def of(cls, judgement: Mapping[str, Any]) -> Verdict:
        """Read it from ``judgement.json``, which had no third verdict once."""
        verdict = judgement.get("verdict")
        return cls(verdict) if verdict else cls.ACCEPTED if judgement.get("accepted") else cls.REJECTED


UNDECIDED = "The gate can't say whether this candidate is good enough:"
"""What its reviewers are told before the reasons."""
