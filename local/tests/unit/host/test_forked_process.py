"""A forked process, as the threads of the host see its end."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from dropforge_local.forking import process as forked_process
from dropforge_local.forking.process import ForkedProcess


def _ended_while(waiting: int) -> list[int | None]:
    """What so many threads are told by `wait`, while another lets go of the process as it ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with subprocess.Popen(["true"]) as process:
        forked = ForkedProcess(process.pid, os.getpid(), ours)
        told: list[int | None] = []
        threads = [threading.Thread(target=lambda: told.append(forked.wait())) for _ in range(waiting)]
        threads.append(threading.Thread(target=forked.let_go))
        for thread in threads:
            thread.start()
        theirs.send(b'{"ended": 3}')
        for thread in threads:
            thread.join(5)
        theirs.close()
    return told


def test_a_thread_that_waits_while_another_lets_go_is_told_the_end_too() -> None:
    for _ in range(100):
        assert _ended_while(waiting=4) == [3, 3, 3, 3]


@pytest.fixture
def unreaped() -> Iterator[int]:
    """A process that has ended, which nobody has waited for."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


def test_what_has_ended_is_not_taken_for_alive_before_its_end_is_told(unreaped: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        telling = threading.Timer(0.2, theirs.send, (b'{"ended": 3}',))
        telling.start()
        assert ForkedProcess(unreaped, os.getpid(), ours).poll() == 3
        telling.join()


def test_an_end_that_nobody_tells_is_waited_for_in_bounded_time(
    unreaped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked_process, "_TELLING_S", 0.05)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert ForkedProcess(unreaped, os.getpid(), ours).poll() == -9
        assert ForkedProcess(os.getpid(), os.getppid(), ours).poll() is None
