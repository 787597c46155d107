"""The live model beside the candidate: what it predicts for the same hold-out, by its own code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
import own_libraries
from dropforge.domain import archive, compiled, manifest
from dropforge.domain.compiled import Compiled
from dropforge.domain.contract import NUMERIC_TYPES, ROW_KEY, Contract
from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.encoding import Encoding
from dropforge.domain.errors import (
    ArtifactChanged,
    ArtifactMissing,
    DropforgeError,
    InvalidContract,
    InvalidModel,
    SchemaChanged,
)
from model_folder import version_here

CHAMPION_TIMEOUT_S = 1800
"""Time that the champion has for the hold-out; it runs beside the candidate's training."""

OWN_CODE, COMPILED_FORM = "its own code", "its compiled form"
"""What scored it."""

_RULES = Path("code", "dropforge", "domain", "values.py")
"""Of a model's archive: the rules by which its data was read. The first releases had none in one place."""


class Champion:
    """The live model, scored on the hold-out by its own code in a process of its own.

    Its archive is opened only after its digest was found to be the registered one.

    Raises:
        ArtifactMissing: the channel has no model.tar.gz.
        ArtifactChanged: the archive is not the registered one.
    """

    def __init__(self, channel: Path, sha256: str, data: Path, work: Path) -> None:
        self.sha256 = sha256
        self.by: str | None = None
        self._data = data
        self._folder = work / "champion"
        self._scores = work / "champion.npz"
        self._log = work / "champion.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.reason: str | None = None
        self.unseen: NDArray[np.bool_] | None = None
        self._threshold: DecisionThreshold | None = None
        try:
            packed = (channel / "model.tar.gz").open("rb")
        except FileNotFoundError as error:
            raise ArtifactMissing("the channel 'champion' holds no model.tar.gz.") from error
        with packed:
            found = manifest.sha256_of(packed)
            if found != sha256:
                raise ArtifactChanged(
                    f"the champion's model.tar.gz has the SHA-256 {found}, registered is {sha256}; "
                    "it was not opened. Find out who replaced it."
                )
            packed.seek(0)
            archive.extract(packed, self._folder)
        program = self._folder / "code" / "inference.py"
        if not program.is_file():
            self.reason = "InvalidModel: its archive has no code/inference.py"
            return
        # PYTHONPATH could put the candidate's modules before the champion's own.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        places = {"--model": self._folder, "--data": data, "--out": self._scores}
        command = [sys.executable, str(program), "score"]
        command += [str(part) for option in places.items() for part in option]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def scored(
        self,
        arrays: Mapping[str, NDArray[Any]],
        contract: Contract,
        read_otherwise: str,
        times: NDArray[Any] | None,
    ) -> dict[str, NDArray[Any]]:
        """Return the hold-out with its scores, of the rows that it can't have learned from; or as it is."""
        scores = self.scores(contract, arrays["row_key"], read_otherwise, times)
        print(f"champion: {f'not scored: {self.reason}' if self.reason else 'scored'}", flush=True)
        if scores is None:
            return dict(arrays)
        rows = slice(None) if self.unseen is None else self.unseen
        return {name: values[rows] for name, values in {**arrays, "champion": scores}.items()}

    def scores(
        self,
        contract: Contract,
        row_key: NDArray[np.uint64],
        read_otherwise: str,
        times: NDArray[Any] | None = None,
    ) -> NDArray[np.float64] | None:
        """Wait for the scores, aligned with `row_key`; None with `reason` set where there are none.

        Args:
            times: of the rows, where these decide on the split.

        Effect: `unseen` says which rows it can't have learned from.
        """
        if self._process is not None:
            try:
                code = self._process.wait(CHAMPION_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.stop()
                self.reason = f"it took more than {CHAMPION_TIMEOUT_S} s for the hold-out"
                return None
            self.by = OWN_CODE
            if code != 0:
                said = self._log.read_text(errors="replace").strip().splitlines()
                self.reason = said[-1][:500] if said else f"its code/inference.py ended with {code}"
        if self.reason is not None:
            self.by, self.reason = self._by_compiled_form(self.reason)
        if self.reason is not None:
            return None
        self.reason = self._difference(contract, read_otherwise)
        if self.reason is None and times is not None:
            self.reason = self._older(times)
        if self.reason is not None:
            return None
        with np.load(self._scores, allow_pickle=False) as scored:
            scores = scored["scores"]
            width = () if contract.classes is None else (len(contract.classes),)
            if not np.array_equal(scored["row_key"], row_key) or scores.shape != (len(row_key), *width):
                self.reason = "NotComparable: it answered for other rows than the hold-out's"
            elif not np.isfinite(scores).all():
                self.reason = "it gave predictions that are not finite"
        return None if self.reason else np.asarray(scores, dtype=np.float64)

    def outcome(self) -> dict[str, Any]:
        """Return the entry ``champion`` of training_report.json, once `scores` has returned."""
        scored = self.reason is None
        found = {
            "scored": scored,
            "reason": self.reason,
            "sha256": self.sha256,
            "by": self.by if scored else None,
            "libraries": self._manifest().get("libraries"),
        }
        return found if self._threshold is None else {**found, "decision": self._threshold.to_dict()}

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _by_compiled_form(self, failure: str) -> tuple[str | None, str | None]:
        """Score by its compiled form where its own code can't. Returns what scored it, and why nothing did.

        Its pickle may need another scikit-learn than there is; or the contract changed, and a column that it
        knows as whole numbers holds any now. The form is plain arrays, which today's code reads.
        """
        if not (self._folder / compiled.FILE_NAME).is_file():
            return None, f"{failure}{self._other_libraries()}"
        try:
            np.savez(self._scores, **scored_by_compiled_form(self._folder, self._data))
        except (DropforgeError, OSError) as error:
            said = f"{type(error).__name__}: {error}"
            is_the_same = failure.startswith(type(error).__name__)
            return None, failure if is_the_same else f"{failure}; by its compiled form: {said}"
        print(f"champion: scored by its compiled form, because its own code failed: {failure}", flush=True)
        return COMPILED_FORM, None

    def _other_libraries(self) -> str:
        """Say which of its libraries are others than there are."""
        its = self._manifest().get("libraries") or {}
        carried = own_libraries.versions(sorted((self._folder / own_libraries.FOLDER).glob("*.whl")))
        changed = [
            f"{name} {version}, and this image has {version_here(name)}"
            for name, version in its.items()
            if name not in carried and version != version_here(name)
        ]
        return f" (it was trained with {'; '.join(changed)})" if changed else ""

    def _manifest(self) -> dict[str, Any]:
        path = self._folder / manifest.FILE_NAME
        return dict(json.loads(path.read_bytes())) if path.is_file() else {}

    def _older(self, times: NDArray[Any]) -> str | None:
        """Find the rows that are newer than all that it learned from; say so if there are none."""
        until = self._manifest().get("seen_until")
        self.unseen = np.zeros(len(times), dtype=bool) if until is None else times > until
        if self.unseen.any():
            return None
        return "NotComparable: no row of this hold-out is newer than what it was trained on"

    def _difference(self, contract: Contract, read_otherwise: str) -> str | None:
        try:
            its = Contract.from_json((self._folder / "contract.json").read_bytes())
        except (OSError, InvalidContract) as error:
            return f"InvalidModel: its contract.json can't be read: {error}"
        for name in ("target", "task", "classes"):
            if getattr(its, name) != getattr(contract, name):
                old, new = getattr(its, name), getattr(contract, name)
                return f"SchemaChanged: it predicts {name} {old!r}, not {new!r}"
        try:
            self._threshold = DecisionThreshold.read(self._folder, its.classes)
        except InvalidModel as error:
            return f"InvalidModel: {error}"
        if not its.splits_like(contract):
            return (
                "NotComparable: rows were split otherwise when it was trained, so it may have been trained "
                "on rows of this hold-out"
            )
        columns = json.loads(read_otherwise or "{}").get(str(_reading_of(self._folder)))
        if columns:
            return (
                f"NotComparable: the release that trained it read {columns} otherwise and split rows "
                "by that, so it may have been trained on rows of this hold-out; a model that is trained now "
                "will be comparable"
            )
        return None


def scored_by_compiled_form(folder: Path, data: Path) -> dict[str, Any]:
    """Score a prepared split by the compiled form of an unpacked model; see `inference.score_split`.

    Raises:
        InvalidModel: a file of it is not the one that was written in training, or the form is unknown.
        InvalidContract: its contract can't be read.
        SchemaChanged: the split lacks one of its columns, or holds values of another kind there.
    """
    manifest.verify(folder)
    contract = Contract.from_json((folder / "contract.json").read_bytes())
    encoding = Encoding.from_json((folder / "encoding.json").read_bytes(), contract)
    score = Compiled.read(folder / compiled.FILE_NAME).scorer(len(contract.classes or ()))
    names = [*(column.name for column in contract.features), ROW_KEY]
    kinds = inference.types_of(data, names)
    for column in contract.features:
        kind = str(kinds[column.name])
        alike = NUMERIC_TYPES if column.type in NUMERIC_TYPES else (column.type,)
        if kind not in [each for name in alike for each in inference.PARQUET_TYPES[name]]:
            raise SchemaChanged(f"column {column.name!r} is {kind}, it knows it as {column.type}.")
    keys, scores = [], []
    for batch in inference.batches_of(data, names):
        keys.append(inference.row_keys_of(batch).copy())
        scores.append(score(encoding.encode(inference.columns_of(batch, contract))))
    return {"row_key": np.concatenate(keys), "scores": np.concatenate(scores)}


def _reading_of(folder: Path) -> int:
    """Return by which reading the data of an unpacked model was split; the second had no number yet."""
    rules = folder / _RULES
    if not rules.is_file():
        return 1
    numbered = re.search(r"^READING = (\d+)$", rules.read_text(encoding="utf-8"), re.MULTILINE)
    return 2 if numbered is None else int(numbered[1])
