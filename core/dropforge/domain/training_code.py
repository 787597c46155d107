"""The training code as S3 serves it to SageMaker: a folder named by the digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dropforge.domain.ports import ObjectRef, ObjectStore

_ENTRY = "train.py"


@dataclass(frozen=True)
class TrainingCode:
    """Paths relative to the ``code`` channel, and their content."""

    files: Mapping[str, bytes]

    @cached_property
    def sha256(self) -> str:
        """The digest over the sorted ``path\\0sha256\\n`` lines: one digest, one content."""
        lines = (
            f"{path}\0{hashlib.sha256(content).hexdigest()}\n" for path, content in sorted(self.files.items())
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def uri(self, beside: str) -> str:
        """Where the code lies, in the bucket that holds the object ``beside``."""
        return f"s3://{ObjectRef.from_uri(beside).bucket}/code/{self.sha256}/"

    def publish(self, store: ObjectStore, beside: str) -> str:
        """Upload the code unless it is there. The entry script goes last, so its presence proves the rest."""
        uri = self.uri(beside)
        if not store.exists(f"{uri}{_ENTRY}"):
            for path, content in sorted(self.files.items(), key=lambda each: (each[0] == _ENTRY, each[0])):
                store.write(f"{uri}{path}", content, content_type="text/x-python")
        return uri
