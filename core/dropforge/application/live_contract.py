"""The contract of the live model, known to be the one that it was trained on."""

from __future__ import annotations

from dropforge.domain.contract import Contract
from dropforge.domain.errors import ArtifactChanged
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Live


def read_live_contract(live: Live, store: ObjectStore) -> Contract:
    """Return the contract that the live model was trained on.

    Raises:
        ArtifactChanged: the object holds another one by now.
        ObjectMissing: it is gone.
    """
    contract = Contract.from_json(store.read(live.contract_uri))
    if contract.hash != live.contract_hash:
        raise ArtifactChanged(
            f"{live.contract_uri} is not the contract that version {live.version} was trained on. "
            "Restore the object's first version."
        )
    return contract
