"""Starts a local host in this process's name, with its errors as a command's ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropforge_local.errors import HostAlreadyRunning, LocalHostError
from dropforge_local.host import LocalHost
from dropforge_ops.errors import CommandError, OperationFailed, UsageError
from dropforge_ops.stack.target import Announced, Target, on_local_host

# The state machines' waits are meant for AWS, where an endpoint takes minutes; here it takes a second.
WAIT_SCALE = 0.1


@contextmanager
def running(host: LocalHost) -> Iterator[LocalHost]:
    """Run a host for the length of a block; its own errors become the command's.

    However the block ends, and also if Ctrl-C comes while the host starts or stops, nothing of it is left.
    """
    try:
        try:
            with signals_held():
                host.start()
            yield host
        finally:
            with signals_held():
                host.stop()
    except LocalHostError as error:
        raise from_host(error) from error


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM back until the block has ended, which must take no longer than seconds."""
    came: list[int] = []
    before = {
        each: signal.signal(each, lambda number, _frame: came.append(number))
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    for number in came[:1]:
        signal.raise_signal(number)


def from_host(error: LocalHostError) -> CommandError:
    """The command's end that a host's error means."""
    if isinstance(error, HostAlreadyRunning):
        return UsageError(str(error))
    return OperationFailed(f"{type(error).__name__}: {error}")


def target_of(host: LocalHost, stack: str, outputs: dict[str, str]) -> Target:
    """The stack on a host, which need not be announced."""
    announced = Announced(host.endpoint_url, host.region, stack, outputs.get("ApiUrl"), outputs, Path())
    return on_local_host(announced, stack)
