"""Copies of verified archives, under a prefix that no job may write: what is approved is what is loaded.

A training job may write the archives of every run, and what SageMaker starts from a package is whatever lies
at the package's URL by then. So a package names a copy, made of the bytes that were judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from dropforge.domain.errors import ArtifactChanged, ArtifactMissing, ObjectMissing
from dropforge.domain.ports import ObjectRef, ObjectStore

_PREFIX = "registered"


def copy_uri(bucket: str, run_id: str) -> str:
    """Where the copy of the run's archive lies."""
    return f"s3://{bucket}/{_PREFIX}/{run_id}/model.tar.gz"


def make_copy(archive: ObjectRef, uri: str, sha256: str, store: ObjectStore) -> None:
    """Copy one version of the archive, if it has this digest and no copy is there yet. Safe to run twice.

    Raises:
        ArtifactMissing: that version is gone.
        ArtifactChanged: it has another digest; nothing was copied.
    """
    if store.exists(uri):
        return
    try:
        check_digest(archive, sha256, store)
        store.copy(archive, uri)
    except ObjectMissing as error:
        raise ArtifactMissing(f"{error} It is the archive that training left; train again.") from error


def check_digest(archive: str | ObjectRef, sha256: str, store: ObjectStore) -> None:
    """Raise ArtifactChanged unless the archive has the digest that was judged and registered."""
    digest = store.sha256(archive)
    if digest != sha256:
        uri = archive if isinstance(archive, str) else archive.uri
        raise ArtifactChanged(
            f"{uri} has the SHA-256 {digest}, but {sha256} was judged and registered. Restore the object's "
            "version in S3, or train again."
        )


def copies(bucket: str, store: ObjectStore) -> Iterator[tuple[str, str]]:
    """The run and the URI of every copy that there is."""
    for found in store.list(f"s3://{bucket}/{_PREFIX}/"):
        yield found.key.split("/")[1], found.uri
