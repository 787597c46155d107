"""What the parts of the service share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dropforge_local.sagemaker.arns import Arns
from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.errors import unsupported
from dropforge_local.sagemaker.objects import Objects
from dropforge_local.sagemaker.ports import HostPorts, Limits
from dropforge_local.sagemaker.store import Store

# AWS keeps one registry per region, each in an account of its own; the image is the same in all of them.
_KNOWN_IMAGE = re.compile(
    r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/sagemaker-scikit-learn:1\.9-0-cpu-py3"
)


@dataclass(frozen=True)
class Context:
    """Store, names, clock, host and limits of one running service."""

    state_dir: Path
    store: Store
    arns: Arns
    ports: HostPorts
    limits: Limits
    image: Image
    clock: Callable[[], float]

    def objects(self, check: Callable[[], None] = lambda: None) -> Objects:
        """S3, for one thread's use."""
        return Objects(self.ports.s3, self.limits.storage_retry_s, check)


def check_isolation(context: Context, wanted: bool | None) -> None:
    """Accept network isolation where this machine can give it.

    Raises:
        ServiceError: it is wanted, and the kernel offers nothing to do it with.
    """
    if wanted and not context.image.isolates:
        raise unsupported("EnableNetworkIsolation on a machine with neither user namespaces nor seccomp")


def check_image(uri: str | None, member: str) -> None:
    """Accept the one image whose contents this host has: AWS's scikit-learn 1.9-0.

    Raises:
        ServiceError: any other image; the host has no container engine to run it with.
    """
    if uri is None:
        raise unsupported(f"a request without {member}")
    if not _KNOWN_IMAGE.fullmatch(uri):
        raise unsupported(
            f"the image {uri} in {member}: it cannot run container images. It executes "
            "<account>.dkr.ecr.<region>.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3 with the packages "
            "installed on this machine"
        )
