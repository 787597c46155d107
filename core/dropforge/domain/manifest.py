"""``model.json``: which files make up a model, and the digests that tie them together.

The format stands in ``docs/architecture.md``. ``model_digest`` names the run nowhere, so the same data and
code give the same digest, and a changed byte anywhere in the model gives another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from dropforge.domain.errors import InvalidModel

FORMAT = 1
FILE_NAME = "model.json"
DIGEST_VARIABLE = "DROPFORGE_MODEL_DIGEST"
"""Tells a serving container which model was registered: its `model_digest`."""

_BLOCK = 1 << 20


def sha256_of(stream: BinaryIO) -> str:
    """Return the SHA-256 in hex of what is left in a stream, read in pieces."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under `folder` but model.json and bytecode, by relative POSIX path."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != FILE_NAME and "__pycache__" not in path.parts:
            with path.open("rb") as file:
                digests[name] = sha256_of(file)
    return digests


def model_digest(files: Mapping[str, str]) -> str:
    """Return the SHA-256 in hex over the sorted ``path NUL sha256 newline`` lines of a model's files."""
    lines = sorted(f"{path}\0{digest}\n" for path, digest in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def parse(text: str | bytes) -> dict[str, Any]:
    """Read ``model.json`` and check that it is consistent in itself.

    Raises:
        InvalidModel: no JSON, another format, an unsafe path, or a digest that isn't the one of the files.
    """
    try:
        manifest = json.loads(text)
        files = manifest["files"]
        sound = manifest["format"] == FORMAT and all(
            isinstance(path, str) and isinstance(digest, str) and _is_safe(path)
            for path, digest in files.items()
        )
        claimed = manifest["model_digest"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(f"model.json can't be read ({error!r}); train the model again.") from error
    if not sound:
        raise InvalidModel(f"model.json is not of format {FORMAT} or lists a path outside the model.")
    if model_digest(files) != claimed:
        raise InvalidModel("model.json is inconsistent: model_digest is not the digest of the listed files.")
    return dict(manifest)


def verify(folder: Path, registered: str | None = None) -> dict[str, Any]:
    """Check every file of a model folder against its ``model.json`` and return that.

    Args:
        folder: the model's files.
        registered: the `model_digest` that the model has to have; None takes any.

    Raises:
        InvalidModel: a file is missing, is not listed, or has other content than was written in training; or
            it is another model than the registered one.
    """
    try:
        manifest = parse((folder / FILE_NAME).read_bytes())
    except FileNotFoundError as error:
        raise InvalidModel(f"the model has no {FILE_NAME}; it was not written by train.py.") from error
    problems = differences(manifest["files"], file_digests(folder))
    if problems:
        raise InvalidModel(f"the model's files are not those of training: {'; '.join(problems)}.")
    if registered is not None and manifest["model_digest"] != registered:
        raise InvalidModel(f"this is model {manifest['model_digest']}, but {registered} was registered.")
    return manifest


def differences(listed: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Say in words how the files that are there differ from those listed; empty if they don't."""
    problems = [f"{path} is missing" for path in sorted(listed.keys() - found.keys())]
    problems += [f"{path} is not listed in {FILE_NAME}" for path in sorted(found.keys() - listed.keys())]
    return problems + [
        f"{path} has another digest"
        for path in sorted(listed)
        if path in found and found[path] != listed[path]
    ]


def _is_safe(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts
