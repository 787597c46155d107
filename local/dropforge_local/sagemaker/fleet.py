"""Fleets: the model servers behind an endpoint, each variant with its instances."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.archives import UnsafeArchive, unpack
from dropforge_local.sagemaker.container import Root
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.instance import Instance, stop_all
from dropforge_local.sagemaker.models import data_location
from dropforge_local.sagemaker.objects import Objects, StorageError

LOG_GROUP = "/aws/sagemaker/Endpoints"
_PREPARED = ".prepared"


class FleetFailure(Exception):
    """A fleet can't come into service; the text is a FailureReason."""


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
        """Take instances beyond the wanted number out of service, failed ones first.

        Returns them, to be drained and stopped.
        """
        with self._changed:
            ordered = sorted(self.instances, key=lambda instance: instance.failed)
            surplus = ordered[self.wanted :]
            self.instances = ordered[: self.wanted]
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
        self.asynchronous: dict[str, Any] | None = snapshot.get("AsyncInferenceConfig")
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
