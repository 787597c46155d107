"""The model as MLflow reads it: a folder with ``MLmodel``, signature, requirements, loader and archive.

The format: https://mlflow.org/docs/latest/ml/model/#storage-format. Nothing of MLflow is needed to write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, BinaryIO, Final

from dropforge.domain import archive, manifest
from dropforge.domain.errors import InvalidModel
from dropforge.domain.moments import from_iso

MLFLOW: Final = "3.17.2"
"""The version that exported models are tried with, and so the one that their requirements name."""

FOLDER: Final = "model"
ARCHIVE: Final = "data/model.tar.gz"

_COMPILED, _CARRIED = "compiled.npz", "wheels/"
_NOT_NEEDED: Final = ("python", "pyarrow")
"""Of the libraries that a job notes: what is no package, and what only training reads data with."""
_NUMBERS: Final = {"number": "double", "integer": "long", "boolean": "boolean"}
_MAXIMUM_DOCUMENT_BYTES = 16 * 1024**2

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Packed:
    """What is known of an archive without unpacking it."""

    model: Json
    contract: Json
    names: frozenset[str]

    @classmethod
    def read(cls, packed: BinaryIO) -> Packed:
        """Read an archive's own documents.

        Raises:
            UnsafeArchive, InvalidModel: it is no archive of a model.
        """
        names, found = set(), {}
        for name, content in archive.files_of(packed):
            names.add(name)
            if name in (manifest.FILE_NAME, "contract.json"):
                found[name] = content.read(_MAXIMUM_DOCUMENT_BYTES)
        if len(found) != 2:
            raise InvalidModel("the archive holds no model.json or no contract.json; it is no model's.")
        return cls(
            manifest.parse(found[manifest.FILE_NAME]), json.loads(found["contract.json"]), frozenset(names)
        )


def model_files(packed: Packed, model_sha256: str, at: str, tracker_run: str) -> dict[str, bytes]:
    """Return the files beside the archive, by their path in the model's folder.

    Args:
        at: when the model was made, ISO 8601.
        tracker_run: the tracker's id of the run that it belongs to.
    """
    digest = packed.model["model_digest"]
    module = f"dropforge_model_{digest[:16]}"
    needed = requirements(packed)
    python = str(packed.model["libraries"]["python"])
    told = {
        "model_sha256": model_sha256,
        "model_digest": digest,
        "contract_hash": packed.contract["hash"],
        "run_id": packed.model["run_id"],
    }
    described = {
        "artifact_path": FOLDER,
        "flavors": {
            "python_function": {
                "loader_module": module,
                "data": "data",
                "code": "code",
                "python_version": python,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            }
        },
        "metadata": {f"dropforge.{name}": value for name, value in told.items()},
        "mlflow_version": MLFLOW,
        "model_uuid": digest[:32],
        "run_id": tracker_run,
        "signature": signature(packed.contract),
        "utc_time_created": from_iso(at).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    loader = files("dropforge.tracking").joinpath("pyfunc_loader.py").read_bytes()
    pip = "".join(f"    - {json.dumps(each)}\n" for each in needed)
    return {
        # JSON is YAML as well.
        "MLmodel": _json(described),
        "requirements.txt": "".join(f"{each}\n" for each in needed).encode(),
        "python_env.yaml": (
            f'python: "{python}"\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n'
        ).encode(),
        "conda.yaml": (
            "name: dropforge\nchannels:\n- conda-forge\ndependencies:\n"
            f"- python={python}\n- pip\n- pip:\n{pip}"
        ).encode(),
        f"code/{module}.py": loader,
        "data/archive.json": _json(told),
    }


def requirements(packed: Packed) -> list[str]:
    """Return what MLflow's process needs to load the model."""
    needed = sorted(needed_libraries(packed).items())
    return [f"mlflow=={MLFLOW}", *(f"{name}=={version}" for name, version in needed)]


def needed_libraries(packed: Packed) -> dict[str, str]:
    """Return what a process needs to load the model, at the versions that it was trained with.

    A compiled form needs numpy alone; libraries that the archive carries are not installed again.
    """
    pinned = {name: version for name, version in packed.model["libraries"].items() if name not in _NOT_NEEDED}
    if _COMPILED in packed.names:
        pinned = {"numpy": pinned["numpy"]}
    carried = {
        name.removeprefix(_CARRIED).partition("-")[0].lower().replace("_", "-")
        for name in packed.names
        if name.startswith(_CARRIED)
    }
    return {name: version for name, version in pinned.items() if _normal(name) not in carried}


def signature(contract: Json) -> dict[str, str | None]:
    """Return the contract in MLflow's words, where these can say it.

    MLflow's whole numbers and truth values can't be missing, and its dates are neither texts nor have a zone:
    such columns are of ``any`` type, and the model itself holds them to the contract.
    """
    inputs = [
        {"name": column["name"], "type": _type_of(column), "required": True}
        for column in contract["columns"]
        if column["role"] == "feature"
    ]
    classes = contract.get("classes")
    if classes is None:
        outputs: list[dict[str, Any]] = [{"name": "value", "type": "double", "required": True}]
    else:
        each = {name: {"type": "double", "required": True} for name in classes}
        outputs = [
            {"name": "label", "type": "string", "required": True},
            {"name": "probabilities", "type": "object", "properties": each, "required": True},
        ]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None}


def _type_of(column: Json) -> str:
    kind = column["type"]
    if kind == "timestamp" or (kind in ("integer", "boolean") and column.get("nullable")):
        return "any"
    return _NUMBERS.get(kind, "string")


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def _json(content: Json) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
