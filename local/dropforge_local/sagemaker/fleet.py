"""Fleets: the model servers behind an endpoint, each variant with its instances."""

from __future__ import annotations

import contextlib
import http.client
import logging
import shutil
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.archives import UnsafeArchive, unpack
from dropforge_local.sagemaker.container import Container, Root
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.logs import LogPump
from dropforge_local.sagemaker.models import data_location
from dropforge_local.sagemaker.objects import Objects, StorageError

logger = logging.getLogger(__name__)

LOG_GROUP = "/aws/sagemaker/Endpoints"
_SERVER = Path(__file__).with_name("model_server.py")
_BACKLOG = 2048
_PREPARED = ".prepared"


class FleetFailure(Exception):
    """A fleet can't come into service; the text is a FailureReason."""


class Instance:
    """One model server: its container, its socket, and how many requests it is answering.

    The host listens, the server accepts. So a request that arrives while the server starts anew waits for it.
    """

    def __init__(
        self,
        context: Context,
        root: Root,
        environment: dict[str, str],
        *,
        isolated: bool,
        write_log: Callable[[str, list[tuple[int, str]]], None],
        health_check_s: float,
        changed: threading.Condition,
    ) -> None:
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.in_flight = 0
        self.ready = False
        self.failed = False
        self._context = context
        self._root = root
        self._environment = environment
        self._isolated = isolated
        self._write_log = write_log
        self._health_check_s = health_check_s
        self._changed = changed
        self._stopping = threading.Event()
        self._container: Container | None = None
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(_BACKLOG)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name=f"sagemaker-{self.id}", daemon=True)

    def start(self) -> None:
        """Start the server; ``ready`` or ``failed`` tells later what became of it."""
        self._thread.start()

    def stop(self) -> None:
        """End the server at once; drain it first."""
        self._stopping.set()
        with self._changed:
            container = self._container
        if container is not None:
            container.kill()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()  # again, for an instance that was never started

    def _run(self) -> None:
        """Keep a server running: a few attempts until the first health check, bounded restarts after."""
        limits = self._context.limits
        deadline = time.monotonic() + self._health_check_s
        crashes: deque[float] = deque()
        boots, was_healthy = 0, False
        try:
            while not self._stopping.is_set():
                boots += 1
                healthy = self._serve(deadline)
                was_healthy = was_healthy or healthy
                if self._stopping.is_set():
                    break
                now = time.monotonic()
                if not was_healthy and (boots >= limits.boot_attempts or now >= deadline):
                    break
                if was_healthy:
                    crashes.append(now)
                    while crashes and crashes[0] < now - limits.crash_window_s:
                        crashes.popleft()
                    if len(crashes) > limits.crash_restarts:
                        logger.error("model server %s crashed %d times; given up", self.id, len(crashes))
                        break
                    deadline = now + self._health_check_s
                self._stopping.wait(limits.restart_backoff_s * 2 ** min(max(boots, len(crashes)), 5))
        except Exception:
            logger.exception("model server %s broke inside the host", self.id)
        finally:
            self._set(ready=False, failed=not self._stopping.is_set())
            # Nobody will accept any more: requests in the socket's queue are refused, not kept waiting.
            self._socket.close()

    def _serve(self, deadline: float) -> bool:
        """Run one server to its end; returns whether it was healthy at some time."""
        container = Container(
            self._context.image,
            self._root,
            ["python3", "-P", str(_SERVER), str(self._socket.fileno())],
            self._environment,
            network=not self._isolated,
            keep=(self._socket.fileno(),),
        )
        pump = LogPump(
            container.output,
            lambda lines: self._write_log(self.id, lines),
            clock=self._context.clock,
            flush_s=self._context.limits.log_flush_s,
        )
        pump.start()
        with self._changed:
            self._container = container
        try:
            if self._stopping.is_set():
                return False
            healthy = self._await_health(container, deadline)
            if healthy:
                self._set(ready=True)
                container.wait()
                self._set(ready=False)
            return healthy
        finally:
            container.kill()
            pump.join()
            container.close()

    def _await_health(self, container: Container, deadline: float) -> bool:
        limits = self._context.limits
        while not self._stopping.is_set() and time.monotonic() < deadline:
            if container.wait(0) is not None:
                return False
            if self._ping(min(limits.ping_timeout_s, max(deadline - time.monotonic(), 0.01)), container):
                return True
            self._stopping.wait(limits.ping_interval_s)
        return False

    def _ping(self, timeout_s: float, container: Container) -> bool:
        # The kernel accepts for a server that isn't there yet, and the answer comes once it is; a short wait
        # per try notices a server that ended instead.
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", "/ping")
            answering = connection.sock
            while time.monotonic() - started < timeout_s:
                if container.wait(0) is not None or self._stopping.is_set():
                    return False
                answering.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    answering.recv(1, socket.MSG_PEEK)
                    answering.settimeout(timeout_s)
                    return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return False

    def _set(self, *, ready: bool, failed: bool = False) -> None:
        with self._changed:
            self.ready = ready
            self.failed = self.failed or failed
            self._changed.notify_all()


class Variant:
    """A production variant: a model and the instances that serve it."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        folder: Path,
        settings: dict[str, Any],
        changed: threading.Condition,
    ) -> None:
        self.name: str = settings["VariantName"]
        self.serverless: dict[str, Any] | None = settings.get("ServerlessConfig")
        self.weight: float = settings["InitialVariantWeight"]
        self.wanted: int = 1 if self.serverless else settings["InitialInstanceCount"]
        self.instances: list[Instance] = []
        self._context = context
        self._endpoint = endpoint
        self._settings = settings
        self._changed = changed
        self._root = Root(folder / self.name, context.image.namespaces)

    @property
    def in_flight(self) -> int:
        """Requests that its instances are answering."""
        return sum(instance.in_flight for instance in self.instances)

    def prepare(self, check: Callable[[], None]) -> None:
        """Bring the model to where the server looks for it; what is there already isn't fetched again.

        Raises:
            FleetFailure: the model can't be fetched or unpacked.
        """
        done = self._root.path / _PREPARED
        if done.exists():
            return
        ml = self._root.ml
        shutil.rmtree(ml, ignore_errors=True)
        (ml / "model").mkdir(parents=True)
        container = self._settings["_Container"]
        objects = self._context.objects(check)
        location = data_location(container)
        if location is not None:
            self._fetch(objects, location, ml / "model")
        submitted = container.get("Environment", {}).get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        if submitted.startswith("s3://"):
            self._fetch(objects, (submitted, True), ml / "code")
        elif submitted.startswith("/opt/ml/"):
            # As the image does, the code runs from a copy, so that the model's folder stays as it came.
            source = self._root.outside(submitted)
            if ".." not in source.parts and source.is_dir():
                shutil.copytree(source, ml / "code", dirs_exist_ok=True)
        done.touch()

    def _fetch(self, objects: Objects, location: tuple[str, bool], folder: Path) -> None:
        uri, archive = location
        spool = self._root.path / "download"
        try:
            if not archive:
                objects.download_prefix(uri, folder)
                return
            with objects.open(uri, spool) as file:
                unpack(file, folder, max_bytes=self._context.limits.model_unpacked_bytes)
        except StorageError as error:
            raise FleetFailure(
                f'Failed to download model data for container "container_1" from URL: "{uri}". Please ensure '
                "that there is an object located at the URL and that the role passed to CreateModel has "
                f"permissions to download the model. ({error})"
            ) from error
        except UnsafeArchive as error:
            raise FleetFailure(
                f'Failed to extract model data archive for container "container_1" from URL "{uri}". Please '
                f"ensure that the object located at the URL is a valid tar.gz archive. ({error})"
            ) from error
        finally:
            spool.unlink(missing_ok=True)

    def launch(self) -> list[Instance]:
        """Start as many instances as are wanted beyond those that there are; returns the new ones."""
        new = []
        for _ in range(self.wanted - len(self.instances)):
            instance = Instance(
                self._context,
                self._root,
                self._environment(),
                isolated=self._settings["_Isolated"],
                write_log=self._write_log,
                health_check_s=self._health_check_s(),
                changed=self._changed,
            )
            new.append(instance)
        with self._changed:
            self.instances = [*self.instances, *new]
        for instance in new:
            instance.start()
        return new

    def remove_surplus(self) -> list[Instance]:
        """Take instances beyond the wanted number out of service; returns them, to be drained and stopped."""
        with self._changed:
            surplus = self.instances[self.wanted :]
            self.instances = self.instances[: self.wanted]
        return surplus

    def _health_check_s(self) -> float:
        given = self._settings.get("ContainerStartupHealthCheckTimeoutInSeconds")
        limits = self._context.limits
        if given is not None:
            return float(given)
        return limits.serverless_health_check_s if self.serverless else limits.health_check_s

    def _environment(self) -> dict[str, str]:
        environment: dict[str, str] = {}
        if not self._settings["_Isolated"]:
            environment |= self._context.ports.environment(self._settings["_RoleArn"])
        environment |= self._settings["_Container"].get("Environment", {})
        if environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "").startswith("s3://"):
            environment["SAGEMAKER_SUBMIT_DIRECTORY"] = "/opt/ml/code"
        return environment

    def _write_log(self, instance_id: str, lines: list[tuple[int, str]]) -> None:
        self._context.ports.put_log(f"{LOG_GROUP}/{self._endpoint}", f"{self.name}/{instance_id}", lines)


class Fleet:
    """All variants of one configuration, running.

    Args:
        folder: a private folder; one that a former process prepared is used as it is.
        snapshot: the configuration with its models.
        changed: notified when an instance becomes ready, fails, or finishes a request.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        folder: Path,
        snapshot: dict[str, Any],
        changed: threading.Condition,
    ) -> None:
        self.folder = folder
        self.config_name: str = snapshot["EndpointConfigName"]
        self.variants = [
            Variant(context, endpoint, folder, settings, changed)
            for settings in snapshot["ProductionVariants"]
        ]
        self._context = context
        self._changed = changed

    def launch(self, check: Callable[[], None]) -> None:
        """Fetch the models and start all instances.

        Raises:
            FleetFailure: a model can't be fetched.
            Interrupted: the host stops.
        """
        for variant in self.variants:
            variant.prepare(check)
        for variant in self.variants:
            variant.launch()

    def await_health(self, check: Callable[[], None]) -> None:
        """Block until every instance is healthy; the instances themselves bound the time.

        Raises:
            FleetFailure: an instance didn't become healthy.
            Interrupted: the host stops.
        """
        with self._changed:
            while True:
                check()
                pending = False
                for variant in self.variants:
                    for instance in variant.instances:
                        if instance.failed:
                            raise FleetFailure(
                                f"The primary container for production variant {variant.name} did not pass "
                                "the ping health check. Please check CloudWatch logs for this endpoint."
                            )
                        pending = pending or not instance.ready
                if not pending:
                    return
                self._changed.wait(0.5)

    def stop(self, *, keep_files: bool = False) -> None:
        """End all servers and remove the models, unless they are kept for the next start."""
        for variant in self.variants:
            stop_all(variant.instances)
        if not keep_files:
            shutil.rmtree(self.folder, ignore_errors=True)


def drain(instances: list[Instance], changed: threading.Condition, timeout_s: float) -> None:
    """Block until the instances have answered what they were asked, at most ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    with changed:
        while any(instance.in_flight for instance in instances):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            changed.wait(remaining)


def stop_all(instances: list[Instance]) -> None:
    """Stop instances, several at a time."""
    threads = [threading.Thread(target=instance.stop) for instance in instances]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
