"""The host process: loopback only, one per state directory, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from local_host_support import eventually

from dropforge_local.announcement import announcement_path
from dropforge_local.errors import HostAlreadyRunning, StateNotKept
from dropforge_local.forking.process import is_alive
from dropforge_local.host import LocalHost
from dropforge_local.testing.forked_host import ForkedHost

if TYPE_CHECKING:
    from local_host_support import Deployed


def _descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    return found


def _listening(pids: set[int]) -> set[tuple[str, int]]:
    """(address in hex, port) of every socket on which these processes listen, TCP and UDP."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            listening = fields[3] == "0A" or name.startswith("udp")
            if listening and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def _cpu_seconds(pid: int) -> float:
    """What the process has computed; unlike the time on the clock, that is no longer on a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_listens_on_loopback_and_nowhere_else(deployed: Deployed) -> None:
    deployed.invoke({"do": "echo"})
    assert deployed.host.pid is not None
    listening = _listening({deployed.host.pid, *_descendants(deployed.host.pid)})
    port = int(deployed.host.endpoint_url.rpartition(":")[2])
    assert ("0100007F", port) in listening
    assert {address for address, _ in listening} == {"0100007F"}


@pytest.fixture(scope="module")
def crashed(project: Path) -> Iterator[LocalHost]:
    """A host on temporary state that was killed. It has compiled byte code if it was the first to start."""
    with LocalHost(project) as host:
        host.kill()
        yield host


def test_is_ready_quickly_and_stops_without_leaving_processes_or_files(
    project: Path, crashed: LocalHost
) -> None:
    assert crashed.pid is None
    host = LocalHost(project)
    with host:
        assert host.pid is not None
        assert _cpu_seconds(host.pid) < 1.5
        outputs = host.deploy("probe")
        host.client("lambda").invoke(FunctionName=outputs["Probe"], Payload=b"{}")
        processes = {host.pid, *_descendants(host.pid)}
        state_dir = host.state_dir
        assert len(processes) >= 2
        assert not list((state_dir / "services").glob("*.json"))
    eventually(lambda: not any(is_alive(pid) for pid in processes))
    assert not state_dir.exists()


def test_a_host_on_temporary_state_does_not_start_again_after_a_crash(crashed: LocalHost) -> None:
    with pytest.raises(StateNotKept, match="Give it a state_dir"):
        crashed.start()


def test_a_second_host_on_the_same_state_is_refused(own_host: Deployed, project: Path) -> None:
    with pytest.raises(HostAlreadyRunning, match="in use by another local host"):
        LocalHost(project, state_dir=own_host.host.state_dir).start()
    assert own_host.invoke({"do": "echo"})[0] is None


def test_a_killed_hosts_workers_end_with_it(own_host: Deployed) -> None:
    own_host.invoke({"do": "echo"})
    assert own_host.host.pid is not None
    workers = _descendants(own_host.host.pid)
    assert workers
    own_host.host.kill()
    eventually(lambda: not any(is_alive(pid) for pid in workers))


def test_the_host_ends_and_cleans_up_when_its_launcher_is_killed(project: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from dropforge_local.host import LocalHost
        host = LocalHost(Path(sys.argv[1])).start()
        print(host.pid, host.state_dir, flush=True)
        time.sleep(600)
        """
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", script, str(project)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert launcher.stdout is not None
        pid, state_dir = launcher.stdout.readline().split()
        launcher.kill()
        launcher.wait()
        eventually(lambda: not is_alive(int(pid)))
        assert not Path(state_dir).exists()  # nobody is left to remove the temporary state
    finally:
        launcher.kill()


def test_a_signalled_host_saves_its_state(own_host: Deployed) -> None:
    own_host.host.client("sns").create_topic(Name="made-just-now")
    assert own_host.host.pid is not None
    os.kill(own_host.host.pid, signal.SIGINT)
    pid = own_host.host.pid
    eventually(lambda: not is_alive(pid))
    saved = (own_host.host.state_dir / "services" / "sns.json").read_text()
    assert "made-just-now" in saved


def test_announces_itself_while_it_runs_and_replaces_a_dead_hosts_file(project: Path, tmp_path: Path) -> None:
    path = announcement_path(project)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"endpoint_url": "http://127.0.0.1:1", "region": "x", "pid": 2**22 + 7}))
    with ForkedHost(project, state_dir=tmp_path / "a", announce=True) as host:
        outputs = host.deploy("probe")
        host.announce_console("http://127.0.0.1:8080")
        announced = json.loads(path.read_text())
        assert announced["endpoint_url"] == host.endpoint_url
        assert announced["stack_name"] == "probe"
        assert announced["outputs"] == outputs
        assert announced["console_url"] == "http://127.0.0.1:8080"
        with pytest.raises(HostAlreadyRunning, match="already runs"):
            LocalHost(project, state_dir=tmp_path / "b", announce=True).start()
    assert not path.exists()
