"""A forked process, as the threads of the host see its end."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

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
