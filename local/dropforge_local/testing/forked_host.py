"""Local hosts whose processes are forked from one that has loaded their libraries.

A new process spends most of its start on that, and tests start many hosts. MiniStack itself, which reads its
settings when it is imported, and what builds on it is loaded by each host.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dropforge_local.forking.process import ForkedProcess
from dropforge_local.forking.server import ForkServer
from dropforge_local.host import HostProcess, LocalHost
from dropforge_local.settings import HostSettings

_PROGRAM = Path(__file__).with_name("forked_host_program.py")
_MODULES = (
    "boto3",
    "cryptography.x509",
    "defusedxml.ElementTree",
    "docker",
    "dropforge_local.permissions",
    "dropforge_local.sagemaker.service",
    "duckdb",
    "hypercorn.asyncio",
    "jsonata",
    "jsonpath_ng",
    "samtranslator.translator.transform",
    "yaml",
)
_OWN = ("TMPDIR", "GATEWAY_PORT", "AUTH", "STATE_DIR", "S3_DATA_DIR", "SFN_WAIT_SCALE", "DOCKER_HOST")
"""Variables that differ from host to host, which nothing may look at before the fork."""


class ForkedHost(LocalHost):
    """A local host like any other, in a process that started sooner."""

    def _start_process(self, settings: HostSettings, log: int, kept: Sequence[int]) -> HostProcess:
        environment = settings.environment()
        common = tuple((name, value) for name, value in environment.items() if name not in _OWN)
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            process = _fork_server(common).fork(
                [settings.to_json()],
                os.getcwd(),
                environment,
                {0: nothing, 1: log, 2: log, **{descriptor: descriptor for descriptor in kept}},
                ends_itself=True,
            )
        finally:
            os.close(nothing)
        if process is None:
            raise ChildProcessError("The fork server forked nothing; its own words are above.")
        return _Reaped(process)


class _Reaped:
    """A forked process that is reaped once its end has been waited for."""

    def __init__(self, process: ForkedProcess) -> None:
        self.pid = process.pid
        self.poll = process.poll
        self.send_signal = process.send_signal
        self._process = process

    def wait(self, timeout: float | None = None) -> int:
        code = self._process.wait(timeout)
        self._process.let_go()
        return code


@functools.cache
def _fork_server(environment: tuple[tuple[str, str], ...]) -> ForkServer:
    """This process's fork server; it ends with the process."""
    server = ForkServer(
        [sys.executable],
        _PROGRAM,
        search_path=[],
        modules=_MODULES,
        environment=dict(environment),
        ready_s=60.0,
        threads=False,
    )
    looked_at = server.variables_read.keys() & set(_OWN)
    if looked_at:
        raise AssertionError(f"A library reads {looked_at} when it is imported; the hosts must do that.")
    return server
