"""What execution environments start from: the runtime's packages, unpacked archives, and processes."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dropforge_local.archive import unpack_once
from dropforge_local.forking.spawner import spawn
from dropforge_local.glue.fork_servers import ForkServers
from dropforge_local.glue.forked_environment import ForkedEnvironment
from dropforge_local.glue.runtime_packages import link_runtime_packages

if TYPE_CHECKING:
    from dropforge_local.settings import HostSettings

# What a function may declare otherwise.
DEFAULT_VARIABLES = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC"}
# What most functions import, also by making clients and calling them; most of a cold start without. numpy is
# not among it: it starts threads.
_PRELOADED = ("boto3", "boto3.dynamodb.types", "boto3.s3.inject", "encodings.idna", "aws_lambda_powertools")
_BOOTSTRAP = Path(__file__).with_name("lambda_bootstrap.py")


class ExecutionEnvironments:
    """Makes what the workers share: the runtime's packages, the unpacked archives, the processes."""

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._unpacking = threading.Lock()
        self._digests: dict[int, tuple[bytes, str]] = {}
        self.runtime_dir = settings.state_dir / "runtime"
        self.endpoint_url = f"http://127.0.0.1:{settings.port}"
        self.region = settings.region
        link_runtime_packages(self.runtime_dir)
        self._fork_servers = ForkServers(
            _BOOTSTRAP, self.runtime_dir, _PRELOADED, settings.temporary_dir / "no-home"
        )

    def prepare(self, layers: list[bytes], runtime: str) -> None:
        """Have what functions with these layers start from ready before the first invocation."""
        folders = self.search_path([self.unpack(layer) for layer in layers])
        self._fork_servers.prepare(folders, {**DEFAULT_VARIABLES, **self.runtime_variables(runtime)})

    def start(
        self, code: str, folders: list[str], environment: Mapping[str, str], runtime: str, private: str
    ) -> subprocess.Popen[str] | ForkedEnvironment:
        """Start the process of an environment; the arguments are those of ``ForkServers.fork``."""
        common = {**DEFAULT_VARIABLES, **self.runtime_variables(runtime)}
        forked = self._fork_servers.fork(code, folders, environment, common, private)
        if forked is not None:
            return forked
        return spawn(
            [sys.executable, "-S", "-s", "-P", str(_BOOTSTRAP)],
            cwd=code,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def runtime_variables(self, runtime: str) -> dict[str, str]:
        """What all functions of a runtime have in their environment, whatever they declare."""
        return {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_RUNTIME_DIR": str(self.runtime_dir),
        }

    @staticmethod
    def search_path(layers: list[Path]) -> list[str]:
        """The folders of the layers' modules, the last layer's first, as Lambda has them."""
        return [
            str(layer / folder)
            for layer in reversed(layers)
            for folder in ("python/lib/python3.12/site-packages", "python")
            if (layer / folder).is_dir()
        ]

    def close(self) -> None:
        """End what the environments share."""
        self._fork_servers.close()

    def unpack(self, archive: bytes) -> Path:
        """The folder with the archive's files; each archive is extracted once, ever."""
        with self._unpacking:
            return unpack_once(io.BytesIO(archive), self._digest(archive), self._settings.unpacked_dir)

    def _digest(self, archive: bytes) -> str:
        """SHA-256 of an archive in memory; remembered, since every cold start asks for its layers'."""
        known = self._digests.get(id(archive))
        if known is None or known[0] is not archive:
            known = (archive, hashlib.sha256(archive).hexdigest())
            self._digests[id(archive)] = known
        return known[1]

    def private_dir(self) -> Path:
        """A new folder for one environment's temporary files."""
        return Path(tempfile.mkdtemp(prefix="lambda-", dir=self._settings.temporary_dir))
