"""Executes one training job: channels in, the entrypoint in its container, archives out."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.archives import UnsafeArchive, files_below, pack
from dropforge_local.sagemaker.container import SharedNetwork
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.libraries import script_of
from dropforge_local.sagemaker.logs import Metrics
from dropforge_local.sagemaker.objects import (
    FolderSync,
    Interrupted,
    Objects,
    StorageError,
    join_uri,
)
from dropforge_local.sagemaker.training_host import TrainingHost, names_of_hosts

_FAILURE_CHARACTERS = 1024  # of output/failure; also the length of a FailureReason
_SET_UP_FAILED = 125
_LOOK_S = 0.1  # how often a job that waits for libraries looks whether it is to end


@dataclass
class Control:
    """The strings attached to a running job."""

    stop: threading.Event = field(default_factory=threading.Event)
    abandon: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    deadline: float = float("inf")

    def request_stop(self) -> None:
        """StopTrainingJob."""
        self.stop.set()
        self.wake.set()

    def request_abandon(self) -> None:
        """The host stops: end the processes, leave the job as it is."""
        self.abandon.set()
        self.wake.set()

    @property
    def overran(self) -> bool:
        """Whether MaxRuntimeInSeconds is over."""
        return time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raise ``Interrupted`` when the job is to go no further."""
        if self.abandon.is_set() or self.stop.is_set() or self.overran:
            raise Interrupted


@dataclass(frozen=True)
class Outcome:
    """How a job ended; ``members`` go into its description."""

    status: str
    secondary: str
    message: str
    members: dict[str, Any]


class InstanceTaken(Exception):
    """The instance of a Spot job was taken away; the job begins again on another."""


class JobFailure(Exception):
    """The job has failed; the text is its FailureReason."""


class Job:
    """One attempt at one job.

    Args:
        document: the job's description.
        root: the attempt's private folder.
        advance: (secondary status, message, members): records a step on the way.
        taken_after_s: so long after its script began the instance is taken away; None: never.
    """

    def __init__(
        self,
        context: Context,
        document: dict[str, Any],
        root: Path,
        control: Control,
        advance: Any,
        taken_after_s: float | None = None,
    ):
        self._context = context
        self._document = document
        self._control = control
        names = names_of_hosts(document)
        folders = [root] if len(names) == 1 else [root / name for name in names]
        self._hosts = [
            TrainingHost(context, document, folder, place, control.wake.set)
            for place, folder in enumerate(folders)
        ]
        self._root = self._hosts[0].root
        self._advance = advance
        self._metrics = Metrics(document["AlgorithmSpecification"].get("MetricDefinitions", []))
        self._outputs = document["OutputDataConfig"]
        self._checkpoints: FolderSync | None = None
        self._taken_after_s = taken_after_s
        self._taken_at = float("inf")
        self._waits_no_longer = False

    def run(self) -> Outcome:
        """Run to the end.

        Raises:
            InstanceTaken: it is to be started again, with what it has kept in its checkpoints.
            Interrupted: the host stops; the job is as it was and is to be started again.
        """
        try:
            return self._steps()
        except Interrupted:
            return self._interrupted()
        except JobFailure as failure:
            return self._failed(str(failure))

    def _steps(self) -> Outcome:
        self._control.check()
        if reason := self._document.get("_CapacityError"):
            raise JobFailure(f"CapacityError: {reason}")
        self._control.deadline = time.monotonic() + self._time_left_s()
        started = self._document.get("TrainingStartTime", self._context.clock())
        self._advance("Downloading", "Downloading input data", {"TrainingStartTime": started})
        self._download()
        self._advance("Training", "Training image download completed. Training in progress.", {})
        code = self._train()
        if self._control.stop.is_set() or self._control.overran:
            raise Interrupted
        if code != 0:
            raise JobFailure(self._algorithm_error(code))
        self._advance("Uploading", "Uploading generated training model", {})
        members = self._upload(self._context.objects(self._check_abandoned), model=True)
        return Outcome("Completed", "Completed", "Training job completed", self._finals(members))

    def _time_left_s(self) -> float:
        """MaxRuntimeInSeconds, or what is left of the time that a Spot job may wait and run together."""
        stopping = self._document["StoppingCondition"]
        left_s: float = stopping["MaxRuntimeInSeconds"]
        if (wait_s := stopping.get("MaxWaitTimeInSeconds")) is None:
            return left_s
        waited_s = self._context.clock() - self._document["CreationTime"]
        self._waits_no_longer = wait_s - waited_s < left_s
        return min(left_s, wait_s - waited_s)

    def finish_stop(self) -> Outcome:
        """End a job that was being stopped when the host went away: what it left behind is uploaded."""
        return self._interrupted()

    def _check_abandoned(self) -> None:
        if self._control.abandon.is_set():
            raise Interrupted

    # --- in ---

    def _download(self) -> None:
        objects = self._context.objects(self._control.check)
        try:
            for host in self._hosts:
                host.prepare(objects)
            if checkpoint := self._document.get("CheckpointConfig"):
                kept = self._root.outside(checkpoint.get("LocalPath", "/opt/ml/checkpoints"))
                pushing = self._context.objects(self._check_abandoned)
                self._checkpoints = FolderSync(pushing, kept, checkpoint["S3Uri"])
                self._checkpoints.restore(objects)
        except StorageError as error:
            raise JobFailure(f"ClientError: Data download failed:{error}") from error

    # --- the container ---

    def _train(self) -> int:
        algorithm = self._document["AlgorithmSpecification"]
        command = [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", [])]
        self._await_libraries(command)
        with contextlib.ExitStack() as ending:
            network = None
            if len(self._hosts) > 1:
                network = SharedNetwork(self._context.image.python, self._hosts[0].names)
                ending.callback(network.close)
            for host in self._hosts:
                ending.callback(host.close)
                host.start(command, network, self._metrics.read)
            if self._taken_after_s is not None:
                self._taken_at = time.monotonic() + self._taken_after_s
            code = self._await()
        self._push_checkpoints()
        return code

    def _await_libraries(self, command: list[str]) -> None:
        """Wait for libraries that load just now: to load them once more beside that takes longer."""
        self._control.check()
        while script_of(command) is not None and not self._context.image.libraries.wait(_LOOK_S):
            self._control.check()

    def _await(self) -> int:
        """Wait for all hosts' ends. One that fails is the job's end, once the others had time to end too."""
        interval = self._context.limits.checkpoint_interval_s if self._checkpoints else float("inf")
        while True:
            until = min(self._control.deadline, self._taken_at)
            timeout = min(until - time.monotonic(), interval, threading.TIMEOUT_MAX)
            self._control.wake.wait(max(timeout, 0.0))
            self._control.wake.clear()
            codes = [host.code for host in self._hosts]
            if None not in codes or any(codes):
                return self._end()
            if self._control.abandon.is_set():
                raise Interrupted
            if self._control.stop.is_set() or self._control.overran:
                for host in self._hosts:
                    host.terminate()
                return self._end()
            if time.monotonic() >= self._taken_at:
                raise InstanceTaken
            self._push_checkpoints()

    def _end(self) -> int:
        """Let hosts end within the grace that SageMaker gives, then SIGKILL. Returns the first bad code."""
        deadline = time.monotonic() + self._context.limits.stop_grace_s
        while any(host.code is None for host in self._hosts) and time.monotonic() < deadline:
            self._control.wake.wait(min(deadline - time.monotonic(), 1.0))
            self._control.wake.clear()
            if self._control.abandon.is_set():
                raise Interrupted
        codes = [host.kill() for host in self._hosts]
        return next(filter(None, codes), 0)

    def _push_checkpoints(self) -> None:
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.push()
        except (StorageError, UnsafeArchive) as error:
            raise JobFailure(f"ClientError: Checkpoint upload failed: {error}") from error

    # --- out ---

    def _upload(self, objects: Objects, *, model: bool) -> dict[str, Any]:
        """Upload what the container left; returns the members that name it."""
        base = join_uri(self._outputs["S3OutputPath"], self._document["TrainingJobName"], "output")
        members: dict[str, Any] = {}
        try:
            if model and (uri := self._upload_folder(objects, "model", base)):
                members["ModelArtifacts"] = {"S3ModelArtifacts": uri}
            self._upload_folder(objects, "output/data", base)
        except (StorageError, UnsafeArchive, OSError) as error:
            raise JobFailure(f"ClientError: Artifact upload failed:{error}") from error
        return members

    def _upload_folder(self, objects: Objects, folder: str, base: str) -> str | None:
        path = self._root.ml / folder
        for other in self._hosts[1:]:
            _gather(other.root.ml / folder, path)
        if not path.is_dir() or not any(True for _ in files_below(path)):
            return None
        name = folder.partition("/")[0]
        key = self._outputs.get("KmsKeyId") or None
        if self._outputs.get("CompressionType") == "NONE":
            uri = join_uri(base, name, "")
            objects.upload_folder(path, uri, kms_key=key)
            return uri
        archive = self._root.path / f"{name}.tar.gz"
        pack(path, archive)
        uri = join_uri(base, archive.name)
        objects.upload(archive, uri, kms_key=key)
        return uri

    def _algorithm_error(self, code: int) -> str:
        if code == _SET_UP_FAILED:
            return "InternalServerError: We encountered an internal error. The container could not be set up."
        for host in self._hosts:
            path = host.root.ml / "output" / "failure"
            if path.is_file() and not path.is_symlink():
                with path.open(encoding="utf-8", errors="replace") as file:
                    return f"AlgorithmError: {file.read(_FAILURE_CHARACTERS)}, exit code: {code}"
        return f"AlgorithmError: , exit code: {code}"

    def _finals(self, members: dict[str, Any]) -> dict[str, Any]:
        metrics = self._metrics.final()
        return members | ({"FinalMetricDataList": metrics} if metrics else {})

    def _failed(self, reason: str) -> Outcome:
        members: dict[str, Any] = {"FailureReason": reason}
        with contextlib.suppress(JobFailure):  # the first reason is the one that matters
            self._upload(self._context.objects(self._check_abandoned), model=False)
        return Outcome("Failed", "Failed", "Training job failed", self._finals(members))

    def _interrupted(self) -> Outcome:
        self._check_abandoned()
        overran = self._control.overran and not self._control.stop.is_set()
        try:
            members = self._upload(self._context.objects(self._check_abandoned), model=True)
        except JobFailure as failure:
            members = {"FailureReason": str(failure)}
        limit = "MaxWaitTime" if self._waits_no_longer else "MaxRuntime"
        secondary = f"{limit}Exceeded" if overran else "Stopped"
        message = "Training job stopped" + f" because it exceeded {limit}InSeconds" * overran
        return Outcome("Stopped", secondary, message, self._finals(members))


def _gather(source: Path, target: Path) -> None:
    """Add what one host left to what another did, whose files of the same name are replaced."""
    for name, path in files_below(source) if source.is_dir() else ():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / name)
