"""Loads a model of dropforge into a process that has what the model's own requirements name.

MLflow finds it by the name that the model's ``MLmodel`` gives it. It stands alone: nothing of dropforge is
installed where it runs, the model's archive carries what it needs. An exported image loads its
model by it, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_LOADING = threading.Lock()


class InvalidModel(ValueError):
    """The archive is not the one that was registered."""


class RefusedRows(ValueError):
    """Rows break the model's contract. `problems` names each as the endpoint does."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        self.problems = problems
        super().__init__(f"{len(problems)} problem(s) in the rows; the first: {problems[0]}")


class Predictor:
    """The model behind MLflow's ``predict``, and behind an exported image."""

    def __init__(self, data: Path) -> None:
        told = json.loads((data / "archive.json").read_text(encoding="utf-8"))
        archive = data / "model.tar.gz"
        found = _sha256(archive)
        if found != told["model_sha256"]:
            raise InvalidModel(
                f"{archive} has the SHA-256 {found}, but {told['model_sha256']} was registered. "
                "Export it again."
            )
        # Kept: libraries that the model carries are loaded from it when they are needed.
        self._folder = tempfile.TemporaryDirectory(prefix="dropforge-model-")
        folder = Path(self._folder.name)
        with tarfile.open(archive, "r:gz") as packed:
            packed.extractall(folder, filter="data")
        with _modules_apart(folder / "code"):
            self._inference: ModuleType = importlib.import_module("inference")
            self._model = self._inference.model_fn(str(folder))

    @property
    def contract_hash(self) -> str:
        """Names the contract that the archive itself holds requests to."""
        return str(self._model.contract.hash)

    def answer(self, body: bytes | str) -> tuple[int, str]:
        """Answer a JSON request as an endpoint's container does: HTTP status and JSON text."""
        status, text = self._inference.answer(self._model, body, "application/json", None)
        return int(status), str(text)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict a data frame's rows: a frame of ``label`` and ``probabilities``, or of ``value``.

        Raises:
            RefusedRows: rows break the model's contract.
        """
        import pandas as pd  # noqa: PLC0415 - MLflow brings it

        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        names = [str(name) for name in frame.columns]
        columns = [[_json_of(value) for value in frame.iloc[:, place]] for place in range(len(names))]
        instances = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        body = json.dumps({"instances": instances})
        status, text = self.answer(body)
        answer = json.loads(text)
        if status != 200:
            raise RefusedRows(answer["error"]["problems"])
        return pd.DataFrame(answer["predictions"], index=frame.index)


def _load_pyfunc(path: str) -> Predictor:
    """What MLflow calls, with the model's data folder."""
    return Predictor(Path(path))


@contextlib.contextmanager
def _modules_apart(code: Path) -> Iterator[None]:
    """Import a model's modules for itself alone: another one in the process has others of the same names."""
    names = {path.stem if path.suffix == ".py" else path.name for path in code.iterdir()}

    def taken() -> dict[str, ModuleType]:
        own = [name for name in sys.modules if name.partition(".")[0] in names]
        return {name: sys.modules.pop(name) for name in own}

    with _LOADING:
        before, path = taken(), list(sys.path)
        sys.path.insert(0, str(code))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            taken()
            sys.modules.update(before)
            # What the model carries stays in the path; its own code must not be found by others.
            sys.path[:] = [each for each in sys.path if each != str(code) or each in path]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json_of(value: Any) -> Any:
    """A frame's value as JSON has it; whatever stands for a missing one is null."""
    import pandas as pd  # noqa: PLC0415 - MLflow brings it

    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain
