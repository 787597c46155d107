"""The exported version in place of what is live: its contract, and its answers from this very process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropforge.domain.contract import Contract
from dropforge.domain.errors import ArtifactChanged, ModelError
from dropforge.domain.predictions import needs_salt
from dropforge.domain.records import Live
from dropforge.domain.serving import LiveModel
from dropforge.tracking.pyfunc_loader import Predictor


class ExportedModel:
    """A version's folder: ``LiveModels`` and ``Scorer`` at once.

    The archive is loaded as it is into MLflow, with the code that it carries.

    Args:
        folder: ``archive.json`` (a `Live` record), ``model.tar.gz``, ``contract.json``, ``evaluation.json``.

    Raises:
        ArtifactChanged: the contract beside the archive is not the one that the version was trained on.
        pyfunc_loader.InvalidModel: the archive is not the one that was judged.
    """

    def __init__(self, folder: Path) -> None:
        self.live = Live.from_dict(json.loads((folder / "archive.json").read_bytes()))
        contract = Contract.from_json((folder / "contract.json").read_bytes())
        self._refuse_another(contract.hash, "contract.json")
        self._predictor = Predictor(folder)
        self._refuse_another(self._predictor.contract_hash, "model.tar.gz")
        self._model = LiveModel(self.live, contract)
        self._evaluation: Mapping[str, Any] = json.loads((folder / "evaluation.json").read_bytes())

    @property
    def has_pseudonyms(self) -> bool:
        """Whether the log keeps a keyed digest of some column, for which the salt is needed."""
        return needs_salt(self._model.contract)

    def take_salt(self, salt: bytes) -> None:
        """Key the pseudonyms in the log as the stack does."""
        self._model = LiveModel(self.live, self._model.contract, salt)

    def current(self, *, fresh: bool = False) -> LiveModel:
        return self._model

    def evaluation(self, live: Live) -> Mapping[str, Any]:
        return self._evaluation

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        try:
            status, text = self._predictor.answer(body)
        except Exception as error:
            # The user's own estimator failed, which an endpoint answers with 500.
            raise ModelError(500, repr(error)) from error
        if status != 200:
            raise ModelError(status, text)
        return text.encode()

    def _refuse_another(self, found: str, where: str) -> None:
        if found != self.live.contract_hash:
            raise ArtifactChanged(
                f"{where} has the contract {found}, but version {self.live.version} was trained on "
                f"{self.live.contract_hash}. Export the version again."
            )
