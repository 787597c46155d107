"""The ports of the prediction API: what is live, and the endpoint that scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dropforge.domain.contract import Contract
from dropforge.domain.records import Live


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The live version and the contract that its requests are held to. `salt` keys the pseudonyms."""

    live: Live
    contract: Contract
    salt: bytes = b""


class LiveModels(Protocol):
    """What serves now."""

    def current(self, *, fresh: bool = False) -> LiveModel | None:
        """The live model, at most a few seconds old, or read anew; None while nothing is live."""
        ...

    def evaluation(self, live: Live) -> Mapping[str, Any]:
        """The hold-out metrics of the version, in SageMaker's model-quality schema."""
        ...


class Scorer(Protocol):
    """The endpoint."""

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        """Send a JSON request and return the JSON answer.

        Raises:
            ModelError: the container answered with an error.
            ServiceUnavailable: throttled, starting, or no answer.
        """
        ...
