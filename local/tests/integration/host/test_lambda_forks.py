"""Environments that are forked behave as those that are new processes, and nothing of one reaches another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from local_host_support import eventually

from dropforge_local.forking.process import is_alive

if TYPE_CHECKING:
    from local_host_support import Deployed


def _seen(deployed: Deployed, function: str, event: dict[str, Any] | None = None) -> dict[str, Any]:
    error, payload = deployed.invoke(event or {}, function)
    assert error is None, payload
    return dict(payload)


def _fork_server(deployed: Deployed) -> int:
    """The process that the probe was forked from."""
    server = int(_seen(deployed, "Probe", {"do": "find"})["parent"])
    assert server != deployed.host.pid, "the probe is a new process"
    return server


def test_functions_with_the_same_libraries_are_forked_from_one_process(deployed: Deployed) -> None:
    server = _fork_server(deployed)
    assert _seen(deployed, "Small")["parent"] == server
    assert _seen(deployed, "Zoned")["parent"] == server


def test_a_forked_function_sees_what_a_new_process_would(deployed: Deployed) -> None:
    seen = _seen(deployed, "Small")
    assert seen["own"] == ["app"]
    assert seen["folder"] == seen["path"][0] == seen["variables"]["LAMBDA_TASK_ROOT"]
    assert len(set(seen["path"])) == len(seen["path"])
    assert seen["main"] == seen["arguments"][0]
    assert seen["main"].endswith("lambda_bootstrap.py")
    assert seen["session"] == seen["pid"]
    new = _seen(deployed, "Seeded")
    assert new["parent"] == deployed.host.pid
    assert new["descriptors"] == seen["descriptors"]
    assert new["main"] == seen["main"]
    assert new["path"][-3:] == seen["path"][-3:]
    assert new["variables"].keys() - seen["variables"].keys() == {"PYTHONHASHSEED"}
    assert new["variables"].keys() >= seen["variables"].keys()


def test_variables_and_the_time_zone_are_each_functions_own(deployed: Deployed) -> None:
    zoned, small = _seen(deployed, "Zoned"), _seen(deployed, "Small")
    assert zoned["variables"]["ONLY_HERE"] == "1"
    assert zoned["timezone"] == "JST"
    assert "ONLY_HERE" not in small["variables"]
    assert small["timezone"] == "UTC"


def test_what_an_environment_changes_ends_with_it(deployed: Deployed) -> None:
    left = _seen(deployed, "Probe", {"do": "leave"})
    assert _seen(deployed, "Probe", {"do": "find"})["variable"] == "behind"
    assert "LEFT" not in _seen(deployed, "Small")["variables"]
    deployed.invoke({"do": "exit"})
    found = _seen(deployed, "Probe", {"do": "find"})
    assert found["pid"] != left["pid"]
    assert found["parent"] == left["parent"]
    assert (found["variable"], found["boto3"], found["layer"]) == (None, None, "from the layer")
    assert found["folder"] != "/"


def test_no_two_environments_draw_the_same_random_numbers(deployed: Deployed) -> None:
    assert _seen(deployed, "Small")["random"] != _seen(deployed, "Zoned")["random"]


def test_a_function_that_ships_a_module_of_the_runtimes_gets_its_own(deployed: Deployed) -> None:
    seen = _seen(deployed, "Bundled")
    assert seen["boto3"] == "the function's own"
    assert not seen["botocore"]
    assert seen["parent"] == deployed.host.pid


def test_what_the_interpreter_reads_at_its_start_is_honoured(deployed: Deployed) -> None:
    seen = _seen(deployed, "Seeded")
    assert seen["hash"] == _hash_with_seed("7")
    assert _seen(deployed, "Small")["hash"] != seen["hash"]


def _hash_with_seed(seed: str) -> int:
    command = [sys.executable, "-c", "print(hash('a string'))"]
    return int(subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout)


def test_a_small_function_may_use_its_memory_whatever_it_was_forked_with(deployed: Deployed) -> None:
    # A new interpreter takes 10 MB of the 128; one that has loaded the SDK, as this one hasn't, 35 MB.
    assert _seen(deployed, "Small", {"megabytes": 108})["bytes"] == 108 << 20
    error, payload = deployed.invoke({"megabytes": 130}, "Small")
    assert error == "Unhandled"
    assert payload["errorType"] == "Runtime.ExitError"
    assert _seen(deployed, "Small")["bytes"] == 0


def test_an_environment_that_is_killed_while_idle_is_replaced(deployed: Deployed) -> None:
    server, pid = _fork_server(deployed), _seen(deployed, "Small")["pid"]
    # Whoever should tell the end is held up, as on a busy machine: nobody may go by its word.
    os.kill(server, signal.SIGSTOP)
    goes_on = threading.Timer(1.0, os.kill, (server, signal.SIGCONT))
    goes_on.start()
    try:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pid))
        assert _seen(deployed, "Small")["pid"] != pid
    finally:
        goes_on.join()


def test_functions_go_on_when_the_process_they_were_forked_from_is_killed(deployed: Deployed) -> None:
    server, before = _fork_server(deployed), _seen(deployed, "Small")["pid"]
    os.kill(server, signal.SIGKILL)
    eventually(lambda: not is_alive(before))
    after = _seen(deployed, "Small")
    assert after["pid"] != before
    assert _fork_server(deployed) not in (server, deployed.host.pid)


def test_a_killed_host_takes_fork_servers_and_forks_with_it(own_host: Deployed) -> None:
    server = _fork_server(own_host)
    forked = _seen(own_host, "Small")["pid"]
    own_host.host.kill()
    eventually(lambda: not is_alive(server))
    eventually(lambda: not is_alive(forked))
