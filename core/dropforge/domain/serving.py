"""What is live: its contract, and the ports of the prediction API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dropforge.domain.contract import Contract
from dropforge.domain.errors import ArtifactChanged
from dropforge.domain.records import Live


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The live version and the contract that its requests are held to. `salt` keys the pseudonyms."""

    live: Live
    contract: Contract
    salt: bytes = b""


def read_live_contract(live: Live, read: Callable[[str], bytes]) -> Contract:
    """Return the contract that the live model was trained on.

    Args:
        read: an object's content, by its URI.

    Raises:
        ArtifactChanged: the object holds another one by now.
        ObjectMissing: it is gone.
    """
    contract = Contract.from_json(read(live.contract_uri))
    if contract.hash != live.contract_hash:
        raise ArtifactChanged(
            f"{live.contract_uri} is not the contract that version {live.version} was trained on. "
            "Restore the object's first version."
        )
    return contract


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
