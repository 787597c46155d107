"""Everything that touches MiniStack's internals: one module per seam, each guarded by a test.

MiniStack is pinned exactly. ``require`` names the internals that a seam builds on, so that another version
fails at once and says where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.settings import HostSettings


@dataclass
class Installed:
    """What has to be ended with the host, in reverse order of its start."""

    closing: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """End everything."""
        while self.closing:
            self.closing.pop()()


def install(settings: HostSettings) -> Installed:
    """Install every seam into this process. Call it once, before MiniStack serves.

    Raises:
        SeamChanged: MiniStack is not the version that the glue was written for.
    """
    from dropforge_local.glue import lambda_execution  # noqa: PLC0415 - MiniStack reads the environment at import

    installed = Installed()
    lambda_execution.install(settings, installed)
    return installed
