"""The local host's life cycle: start, deploy to, talk to, stop, or kill to see what survives."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import boto3
from botocore.config import Config

from dropforge_local.announcement import Announcement, announce, read_announcement, withdraw
from dropforge_local.api_urls import local_api_url
from dropforge_local.build import Builder
from dropforge_local.deploy import Deployer
from dropforge_local.errors import HostAlreadyRunning, HostNotReady, InvalidFault, NotLinux, StateNotKept
from dropforge_local.settings import HostSettings
from dropforge_local.state_lock import StateLock

REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
_READY_WITHIN_S = 30.0
_STOP_WITHIN_S = 15.0


class HostProcess(Protocol):
    """What is done with the host's process; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; ``subprocess.TimeoutExpired`` where it doesn't come in time."""

    def send_signal(self, sig: int, /) -> None:
        """Signal it."""


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """Asks the host and never a proxy. Made once: an opener reads the machine's certificates."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalHost:
    """A local AWS on 127.0.0.1, as a child process. A context manager.

    Args:
        root: the project's folder; ``<root>/.dropforge`` holds the build cache and the announcement.
        state_dir: what survives a restart and a crash; None for a temporary folder, of which the services'
            state is never saved and which is removed on stop.
        port: the port to listen on, 0 for a free one.
        wait_scale: factor on Step Functions' waits and retry intervals (0.01 makes a minute 0.6 s).
        auth: enforce IAM for Lambda roles and signed callers.
        log_path: where the host process's log goes; None for ``<state_dir>/host.log``.
        announce: write ``<root>/.dropforge/local.json`` while running.
    """

    region = REGION
    account_id = ACCOUNT_ID

    def __init__(
        self,
        root: Path,
        *,
        state_dir: Path | None = None,
        port: int = 0,
        wait_scale: float = 1.0,
        auth: bool = False,
        log_path: Path | None = None,
        announce: bool = False,
    ) -> None:
        self.root = root.resolve()
        self._temporary = state_dir is None
        self._given_state_dir = state_dir
        self._port = port
        self._wait_scale = wait_scale
        self._auth = auth
        self._log_path = log_path
        self._announce = announce
        self._process: HostProcess | None = None
        self._lifeline = -1
        self._lock: StateLock | None = None
        self._clients: dict[str, Any] = {}
        self._announced: Announcement | None = None
        self._kept = False
        self.state_dir = Path()

    # --- life cycle ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """The URL that every AWS client is given; set once started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The host process's id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def log_path(self) -> Path:
        """The host process's log."""
        return self._log_path or self.state_dir / "host.log"

    def start(self) -> Self:
        """Start the process and wait until it answers.

        Raises:
            NotLinux: this is another system.
            HostAlreadyRunning: another host uses the state directory, or is announced for this project.
            HostNotReady: the process ended or did not answer in time; its log is quoted.
            StateNotKept: it ran before, on temporary state.
        """
        if self._process is not None:
            return self
        if self._temporary and self.state_dir != Path():
            raise StateNotKept(
                f"the host on {self.state_dir} was temporary: its state ended with its process. "
                "Give it a state_dir to start it again."
            )
        if sys.platform != "linux":
            raise NotLinux(
                "The local host runs on Linux only: start it in a Linux container or virtual machine (on "
                "Windows in WSL 2), or use a stack on AWS."
            )
        self._refuse_second_announcement()
        if self.state_dir == Path():
            self.state_dir = self._make_state_dir()
        self._lock = StateLock(self.state_dir)
        self._lock.acquire()
        try:
            self._spawn()
            self._await_ready()
            self._announce_now()
        except BaseException:
            self.kill()
            self._remove_temporary_state()
            raise
        return self

    def stop(self) -> None:
        """End the host cleanly: state saved, every child process ended, temporary state removed."""
        self._end(signal.SIGTERM)
        self._remove_temporary_state()

    def keep_state(self) -> Path:
        """Leave the state directory in place at the end, also a temporary one, and return it."""
        self._kept = True
        return self.state_dir

    def kill(self) -> None:
        """End the host with SIGKILL, as a crash would; the state directory stays as the crash left it."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Stop cleanly and start again on the same state and port."""
        self._end(signal.SIGTERM)
        return self.start()

    # --- use -----------------------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """A boto3 client of ``service`` on this host, the same while it runs."""
        if service not in self._clients:
            self._clients[service] = self._new_client(service)
        return self._clients[service]

    def _new_client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the host accepts any; it guards nothing
            config=Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                proxies={},
                read_timeout=900,
            ),
        )

    def deploy(
        self,
        stack_name: str = "dropforge",
        parameters: Mapping[str, str] | None = None,
        template: Path | None = None,
    ) -> dict[str, str]:
        """Build the template (``<root>/template.yaml`` by default), deploy it, and return the outputs.

        Raises:
            InvalidTemplate, BuildFailed, DeployFailed: with what to mend.
        """
        built = Builder(template or self.root / "template.yaml", self._cache).build()
        deployer = Deployer(
            self.client("s3"),
            self.client("cloudformation"),
            bucket=f"dropforge-artifacts-{self.account_id}-{self.region}",
        )
        outputs = deployer.deploy(stack_name, built, parameters or {})
        self._announced_stack = (stack_name, outputs)
        self._announce_now()
        return outputs

    def inject(
        self, machine: str, state: str, kind: str, *, error: str = "", cause: str = "", times: int = 1
    ) -> None:
        """Make a state's task go wrong on purpose, from now on and ``times`` times.

        Args:
            machine: the state machine's name.
            state: the Task state's name.
            kind: ``before``, ``after``, ``twice``, ``hang``, ``hold_before`` or ``hold_after``; see
                ``dropforge_local.glue.workflow.faults``.
            error, cause: what ``before`` and ``after`` end the task with.

        Raises:
            InvalidFault: the host refused the rule.
        """
        rule = {
            "machine": machine,
            "state": state,
            "kind": kind,
            "error": error,
            "cause": cause,
            "times": times,
        }
        self.administer("DropforgeHost.SetFault", rule)

    def limit_functions(self, at_once: int) -> None:
        """Run no more functions at once than this from now on, and throttle the others, as a small account.

        Raises:
            InvalidFault: it is less than 1.
        """
        self.administer("DropforgeHost.LimitFunctions", {"AtOnce": at_once})

    def clear_faults(self) -> None:
        """Drop every rule that ``inject`` made, and the limit; what is held goes on."""
        self.administer("DropforgeHost.ClearFaults", {})

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force, with ``reached``: how often each has taken effect."""
        found: list[dict[str, Any]] = self.administer("DropforgeHost.ListFaults", {})["Faults"]
        return found

    def calls(self) -> list[dict[str, Any]]:
        """What roles asked AWS for since the host started, each thing once; empty without ``auth``.

        Each has ``role`` (its name), ``action``, ``resource``, ``context`` (what conditions of policies look
        at), and ``allowed``.
        """
        found: list[dict[str, Any]] = self.administer("DropforgeHost.ListCalls", {})["Calls"]
        return found

    def administer(self, target: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation of the host's own that no AWS client knows.

        Args:
            target: as in the ``X-Amz-Target`` header, for example ``SageMaker.dropforge:SetFault``.
            request: its JSON document.

        Raises:
            InvalidFault: the host refused it.
        """
        call = urllib.request.Request(  # noqa: S310 - the host's own http URL
            self.endpoint_url,
            data=json.dumps(request).encode(),
            headers={"X-Amz-Target": target},
        )
        try:
            with _opener().open(call, timeout=_READY_WITHIN_S) as answer:
                document: dict[str, Any] = json.loads(answer.read())
                return document
        except urllib.error.HTTPError as error:
            raise InvalidFault(json.loads(error.read())["message"]) from error

    def announce_console(self, url: str) -> None:
        """Add the console's URL to the announcement."""
        self._console_url = url
        self._announce_now()

    # --- inside --------------------------------------------------------------------------------------

    _announced_stack: tuple[str | None, dict[str, str]] = (None, {})
    _console_url: str | None = None

    @property
    def _cache(self) -> Path:
        return self.root / ".dropforge"

    def _make_state_dir(self) -> Path:
        if self._given_state_dir is None:
            return Path(tempfile.mkdtemp(prefix="dropforge-host-")).resolve()
        self._given_state_dir.mkdir(parents=True, exist_ok=True)
        return self._given_state_dir.resolve()

    def _refuse_second_announcement(self) -> None:
        other = read_announcement(self.root) if self._announce else None
        if other is not None:
            raise HostAlreadyRunning(
                f"A local host already runs for {self.root} (process {other.pid}, {other.endpoint_url}). "
                "Use it, or stop it with Ctrl-C where it was started."
            )

    def _spawn(self) -> None:
        if self._lock is None:
            raise HostNotReady("The state directory is not locked.")
        listener = socket.create_server(("127.0.0.1", self._port), backlog=512)
        self._port = listener.getsockname()[1]
        reading, self._lifeline = os.pipe()
        settings = HostSettings(
            state_dir=self.state_dir,
            unpacked_dir=self._cache / "unpacked",
            port=self._port,
            listener_fd=listener.fileno(),
            lifeline_fd=reading,
            wait_scale=self._wait_scale,
            auth=self._auth,
            region=self.region,
            account_id=self.account_id,
            temporary=self._temporary,
        )
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.log_path.open("ab") as log:
                self._process = self._start_process(
                    settings, log.fileno(), (listener.fileno(), reading, self._lock.fd)
                )
        finally:
            os.close(reading)
            listener.close()

    def _start_process(self, settings: HostSettings, log: int, kept: Sequence[int]) -> HostProcess:
        """Start the host's process in a session of its own, with ``kept`` as its open descriptors."""
        return subprocess.Popen(
            [sys.executable, "-m", "dropforge_local.glue", settings.to_json()],
            env=settings.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=kept,
            start_new_session=True,
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise HostNotReady(
                    f"The local host ended while starting. Its log ends with:\n{self._log_end()}"
                )
            try:
                with _opener().open(
                    f"{self.endpoint_url}/_ministack/health", timeout=_READY_WITHIN_S
                ) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise HostNotReady(f"No answer within {_READY_WITHIN_S:g} s. The log ends with:\n{self._log_end()}")

    def _log_end(self) -> str:
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")[-4000:]
        except OSError:
            return "(no log)"

    def _announce_now(self) -> None:
        if not self._announce or self._process is None:
            return
        stack_name, outputs = self._announced_stack
        announce(
            self.root,
            Announcement(
                endpoint_url=self.endpoint_url,
                region=self.region,
                pid=self._process.pid,
                stack_name=stack_name,
                api_url=local_api_url(outputs["ApiUrl"], self.endpoint_url) if "ApiUrl" in outputs else None,
                console_url=self._console_url,
                outputs=outputs,
            ),
        )

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        self._clients.clear()  # their connections end with the process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if self._announce:
                withdraw(self.root, process.pid)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _remove_temporary_state(self) -> None:
        if self._temporary and not self._kept and self.state_dir != Path():
            shutil.rmtree(self.state_dir, ignore_errors=True)
            self.state_dir = Path()
