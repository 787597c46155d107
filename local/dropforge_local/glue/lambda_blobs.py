"""Keeps layer archives out of MiniStack's JSON snapshots: they are files, named by their SHA-256.

MiniStack does the same for functions' code but writes a layer as base64 into every snapshot.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import lambda_svc

if TYPE_CHECKING:
    from dropforge_local.settings import HostSettings

_REFERENCE = "dropforge_blob_sha256"


def install(settings: HostSettings) -> None:
    """Store layers by digest when Lambda's state is saved, and read them back when it is restored."""

    folder = settings.state_dir / "layers"
    stored: dict[int, tuple[bytes, str]] = {}
    restore = lambda_svc._restore_state

    def archived(archive: bytes) -> str:
        known = stored.get(id(archive))
        if known is None or known[0] is not archive:
            known = (archive, _write(folder, archive))
            stored[id(archive)] = known
        return known[1]

    def get_state() -> dict[str, Any]:
        state: dict[str, Any] = _functions_state(lambda_svc)
        layers = copy.deepcopy(lambda_svc._layers)
        for version in _versions(layers):
            if isinstance(version.get("_zip_data"), bytes):
                version["_zip_data"] = {_REFERENCE: archived(version["_zip_data"])}
        return {**state, "layers": layers}

    def restore_state(data: dict[str, Any] | None) -> None:
        for version in _versions((data or {}).get("layers") or {}):
            reference = version.get("_zip_data")
            if isinstance(reference, dict) and _REFERENCE in reference:
                version["_zip_data"] = (folder / f"{reference[_REFERENCE]}.zip").read_bytes()
        restore(data)

    lambda_svc.get_state = get_state
    lambda_svc._restore_state = restore_state


def _functions_state(lambda_svc: Any) -> dict[str, Any]:
    functions = type(lambda_svc._functions)()
    referenced: set[str] = set()
    for key, function in list(lambda_svc._functions._data.items()):
        copied = copy.deepcopy(function)
        for record in (copied, *(copied.get("versions") or {}).values()):
            lambda_svc._externalize_code_zip(record, referenced)
        functions._data[key] = copied
    lambda_svc._prune_orphan_code_blobs(referenced)
    return {
        "functions": functions,
        "esms": copy.deepcopy(lambda_svc._esms),
        "function_urls": copy.deepcopy(lambda_svc._function_urls),
        "kinesis_positions": copy.deepcopy(lambda_svc._kinesis_positions),
        "dynamodb_stream_positions": copy.deepcopy(lambda_svc._dynamodb_stream_positions),
    }


def _versions(layers: Any) -> list[dict[str, Any]]:
    records = layers._data if hasattr(layers, "_data") else layers
    return [version for layer in records.values() for version in layer.get("versions", [])]


def _write(folder: Path, archive: bytes) -> str:
    digest = hashlib.sha256(archive).hexdigest()
    path = folder / f"{digest}.zip"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        scratch.write_bytes(archive)
        scratch.replace(path)
    return digest
