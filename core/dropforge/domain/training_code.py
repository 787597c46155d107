"""The training code as S3 serves it to SageMaker: a folder named by the digest of its content."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dropforge.domain.manifest import sha256_of
from dropforge.domain.ports import ObjectRef, ObjectStore

_ENTRY = "train.py"


def what_is_imported(modules: Iterable[str], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of ``files`` that the modules import, at any place and in turn, and the modules themselves.

    Args:
        modules: absolute names.
        files: sources by their path below the folder to import from. What isn't there isn't ours.
    """
    found: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        place = name.replace(".", "/")
        path = next((path for path in (f"{place}.py", f"{place}/__init__.py") if path in files), None)
        if path is not None and path not in found:
            found[path] = files[path]
            waiting += [name.rpartition(".")[0], *_imports(files[path])]
    return found


def _imports(source: bytes) -> Iterator[str]:
    """Absolute names of modules, and of what may be a module or something in one."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # Its job says so, with the line. Raised here, where a run is admitted, it would lose the drop.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


@dataclass(frozen=True)
class TrainingCode:
    """Paths relative to the ``code`` channel, and their content; and the wheels of the user's own libraries.

    Attributes:
        wheels: the files by their path in the channel; they are read when they are needed.
    """

    files: Mapping[str, bytes]
    wheels: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """The digest over the sorted ``path\\0sha256\\n`` lines: one digest, one content."""
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        for path, wheel in self.wheels.items():
            with wheel.open("rb") as file:
                digests[path] = sha256_of(file)
        lines = (f"{path}\0{digest}\n" for path, digest in sorted(digests.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def uri(self, beside: str) -> str:
        """Where the code lies, in the bucket that holds the object ``beside``."""
        return f"s3://{ObjectRef.from_uri(beside).bucket}/code/{self.sha256}/"

    def publish(self, store: ObjectStore, beside: str) -> str:
        """Upload the code unless it is there. The entry script goes last, so its presence proves the rest."""
        uri = self.uri(beside)
        if not store.exists(f"{uri}{_ENTRY}"):
            for path, wheel in sorted(self.wheels.items()):
                with wheel.open("rb") as file:
                    store.upload(f"{uri}{path}", file, content_type="application/zip")
            for path, content in sorted(self.files.items(), key=lambda each: (each[0] == _ENTRY, each[0])):
                store.write(f"{uri}{path}", content, content_type="text/x-python")
        return uri
