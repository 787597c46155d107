"""Training jobs: the operations, and the threads that execute the jobs."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.context import Context, check_isolation
from dropforge_local.sagemaker.errors import ServiceError, unsupported, validation
from dropforge_local.sagemaker.faults import FaultSwitch
from dropforge_local.sagemaker.job_records import TERMINAL, JobRecords
from dropforge_local.sagemaker.jobs import Control, InstanceTaken, Job, Outcome
from dropforge_local.sagemaker.objects import Interrupted
from dropforge_local.sagemaker.store import Resource
from dropforge_local.sagemaker.training_request import DEFAULT_MAX_RUNTIME_S, check_executable

logger = logging.getLogger(__name__)

KIND = "training-job"
_BROKEN = "InternalServerError: We encountered an internal error. Please try again."
_SPOT_SHARE = 0.3
"""Of the price on demand, what Spot capacity costs here; on AWS it changes, and is often about so much."""
_MAX_REASON = 1100  # a script's 1024 characters and what is put around them


class TrainingJobs:
    """The training jobs of one service."""

    def __init__(self, context: Context, faults: FaultSwitch) -> None:
        self._context = context
        self._faults = faults
        self._records = JobRecords(context, "Training")
        self._folder = context.state_dir / "training"
        self._controls: dict[str, Control] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = False

    # --- operations ---

    def create(self, request: dict[str, Any], capacity_error: str | None = None) -> dict[str, Any]:
        """CreateTrainingJob: the job runs in a thread of its own."""
        check_executable(request, self._context.image)
        check_isolation(self._context, request.get("EnableNetworkIsolation"))
        name = request["TrainingJobName"]
        arn = self._context.arns.of(KIND, name)
        now = self._context.clock()
        document = {key: value for key, value in request.items() if key != "Tags"} | {
            "TrainingJobArn": arn,
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "CreationTime": now,
            "LastModifiedTime": now,
            "StoppingCondition": {
                "MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_S,
                **request.get("StoppingCondition", {}),
            },
            "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            "EnableInterContainerTrafficEncryption": request.get(
                "EnableInterContainerTrafficEncryption", False
            ),
            "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
            "SecondaryStatusTransitions": [
                {
                    "Status": "Starting",
                    "StartTime": now,
                    "StatusMessage": "Preparing the instances for training",
                }
            ],
        }
        if capacity_error is not None:
            document["_CapacityError"] = capacity_error
        with self._context.store.transaction() as tx:
            if tx.get(KIND, name) is not None:
                raise ServiceError(
                    "ResourceInUse",
                    "Job name must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({arn})",
                )
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
            self._records.put(tx, document)
        self._launch(name)
        return {"TrainingJobArn": arn}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeTrainingJob."""
        return self._records.describe(request)

    def list_page(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListTrainingJobs."""
        for member in ("WarmPoolStatusEquals", "TrainingPlanArnEquals"):
            if request.get(member):
                raise unsupported(f"the filter {member}")
        members = (
            "TrainingJobName",
            "TrainingJobArn",
            "CreationTime",
            "TrainingEndTime",
            "LastModifiedTime",
            "TrainingJobStatus",
            "SecondaryStatus",
        )
        return self._records.list_page(request, members, "Ascending")

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteTrainingJob: the record of a job that has ended is forgotten; what it made stays."""
        return self._records.delete(request)

    def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        """StopTrainingJob: SIGTERM now, SIGKILL after the grace; the model folder is uploaded still."""
        name = request["TrainingJobName"]
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            status = document["TrainingJobStatus"]
            if status in TERMINAL:
                raise validation(f"The request was rejected because the training job is in status {status}.")
            if status == "InProgress":
                document["TrainingJobStatus"] = "Stopping"
                self._move(document, "Stopping", "Stopping the training job")
                self._records.put(tx, document)
        with self._lock:
            control = self._controls.get(document["TrainingJobName"])
        if control is not None:
            control.request_stop()
        return {}

    def wait(self, name: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Block until the job has ended; see `JobRecords.wait`."""
        return self._records.wait(name, timeout_s)

    # --- life cycle of the service ---

    def recover(self) -> None:
        """Go on with the jobs that an earlier process left: from the start, as on a new instance."""
        with self._context.store.transaction() as tx:
            names = []
            for found in tx.all(KIND):
                document = found.document
                if document["TrainingJobStatus"] == "InProgress":
                    self._move(document, "Starting", "Restarting the training job after an interruption")
                    self._records.put(tx, document)
                if document["TrainingJobStatus"] in ("InProgress", "Stopping"):
                    names.append(document["TrainingJobName"])
        if self._folder.exists():
            for folder in self._folder.iterdir():
                if folder.name not in names:
                    shutil.rmtree(folder, ignore_errors=True)
        for name in names:
            self._launch(name)

    def shut_down(self) -> None:
        """End all processes; the jobs go on at the next start."""
        with self._lock:
            self._stopping = True
            controls, threads = list(self._controls.values()), list(self._threads.values())
        for control in controls:
            control.request_abandon()
        for thread in threads:
            thread.join(30.0)

    # --- inside ---

    def _move(self, document: dict[str, Any], secondary: str, message: str) -> None:
        now = self._context.clock()
        transitions = document["SecondaryStatusTransitions"]
        transitions[-1]["EndTime"] = now
        transition = {"Status": secondary, "StartTime": now, "StatusMessage": message}
        if secondary in (*TERMINAL, "MaxRuntimeExceeded", "MaxWaitTimeExceeded"):
            transition["EndTime"] = now
        transitions.append(transition)
        document["SecondaryStatus"] = secondary

    def _advance(self, name: str, secondary: str, message: str, members: dict[str, Any]) -> None:
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            if document["TrainingJobStatus"] != "InProgress":
                raise Interrupted
            document |= members
            self._move(document, secondary, message)
            self._records.put(tx, document)

    def _launch(self, name: str) -> None:
        control = Control()
        thread = threading.Thread(
            target=self._run, args=(name, control), name=f"sagemaker-training-{name}", daemon=True
        )
        with self._lock:
            if self._stopping:
                return
            self._controls[name] = control
            self._threads[name] = thread
        thread.start()

    def _run(self, name: str, control: Control) -> None:
        try:
            with self._context.store.transaction() as tx:
                document = self._records.find(name)
                stopping = document["TrainingJobStatus"] == "Stopping"
                last = document.get("_Attempt", 0)
                document["_Attempt"] = attempt = last if stopping and last else last + 1
                found = tx.get(KIND, name)
                if found is None:
                    return
                tx.put(
                    Resource(KIND, name, found.arn, document),
                    created=document["CreationTime"],
                    modified=document["LastModifiedTime"],
                    status=document["TrainingJobStatus"],
                )
            if stopping:
                control.request_stop()
            while not self._execute(name, document, self._folder / name / str(attempt), control):
                document, attempt = self._begin_again(name)
        except Interrupted:
            pass
        except Exception:
            logger.exception("training job %s broke inside the host", name)
            self._end(
                name,
                Outcome(
                    "Failed",
                    "Failed",
                    "Training job failed",
                    {"FailureReason": _BROKEN},
                ),
            )
        finally:
            with self._lock:
                self._controls.pop(name, None)
                self._threads.pop(name, None)

    def _begin_again(self, name: str) -> tuple[dict[str, Any], int]:
        """Record that the instance was taken away and, unless the job is to stop, that another is sought."""
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            if document["TrainingJobStatus"] == "InProgress":
                self._move(document, "Interrupted", "The Spot capacity of the training job was taken away")
                self._move(document, "Starting", "Preparing the instances for training")
            document["_Attempt"] = attempt = document["_Attempt"] + 1
            self._records.put(tx, document)
        return document, attempt

    def _execute(self, name: str, document: dict[str, Any], root: Path, control: Control) -> bool:
        """Whether the job has ended; else its instance was taken away."""
        for leftover in root.parent.glob("*"):
            if leftover != root:
                shutil.rmtree(leftover, ignore_errors=True)
        job = Job(
            self._context,
            document,
            root,
            control,
            lambda secondary, message, members: self._advance(name, secondary, message, members),
            self._faults.interruption() if document["EnableManagedSpotTraining"] else None,
        )
        try:
            outcome = job.finish_stop() if document["TrainingJobStatus"] == "Stopping" else job.run()
        except InstanceTaken:
            return False
        self._end(name, outcome)
        shutil.rmtree(root.parent, ignore_errors=True)
        return True

    def _end(self, name: str, outcome: Outcome) -> None:
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            now = self._context.clock()
            document |= outcome.members
            document["TrainingJobStatus"] = outcome.status
            document["TrainingEndTime"] = now
            if "FailureReason" in document:
                document["FailureReason"] = document["FailureReason"][:_MAX_REASON]
            started = document.get("TrainingStartTime")
            if started is not None:
                ran_s = max(1, round(now - started))
                document["TrainingTimeInSeconds"] = ran_s
                # What Spot capacity costs less is taken off the seconds, not the price of one.
                share = _SPOT_SHARE if document["EnableManagedSpotTraining"] else 1.0
                document["BillableTimeInSeconds"] = max(1, round(ran_s * share))
            if outcome.status == "Completed":
                # SageMaker names the model's place whether or not the script wrote a model.
                document.setdefault("ModelArtifacts", {"S3ModelArtifacts": _model_uri(document)})
            self._move(document, outcome.secondary, outcome.message)
            self._records.put(tx, document)


def _model_uri(document: dict[str, Any]) -> str:
    base = document["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return f"{base}/{document['TrainingJobName']}/output/model.tar.gz"
