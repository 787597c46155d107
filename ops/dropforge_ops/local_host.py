"""Starts a local host in this process's name, with its errors as a command's ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropforge_local.errors import HostAlreadyRunning, LocalHostError
from dropforge_local.host import LocalHost
from dropforge_ops.errors import CommandError, OperationFailed, UsageError
from dropforge_ops.target import Announced, Target, on_local_host

# The state machines' waits are meant for AWS, where an endpoint takes minutes; here it takes a second.
WAIT_SCALE = 0.1


@contextmanager
def running(host: LocalHost) -> Iterator[LocalHost]:
    """Run a host for the length of a block; its own errors become the command's."""
    try:
        with host:
            yield host
    except LocalHostError as error:
        raise from_host(error) from error


def from_host(error: LocalHostError) -> CommandError:
    """The command's end that a host's error means."""
    if isinstance(error, HostAlreadyRunning):
        return UsageError(str(error))
    return OperationFailed(f"{type(error).__name__}: {error}")


def target_of(host: LocalHost, stack: str, outputs: dict[str, str]) -> Target:
    """The stack on a host, which need not be announced."""
    announced = Announced(host.endpoint_url, host.region, stack, outputs.get("ApiUrl"), outputs, Path())
    return on_local_host(announced, stack)
