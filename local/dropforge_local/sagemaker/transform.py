"""Transform jobs: the operations, and the threads that execute the jobs."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.errors import ServiceError, validation
from dropforge_local.sagemaker.job_records import TERMINAL, JobRecords
from dropforge_local.sagemaker.models import Models
from dropforge_local.sagemaker.objects import Interrupted, StorageError
from dropforge_local.sagemaker.transform_job import Control, TransformFailure, TransformJob
from dropforge_local.sagemaker.transform_request import check_transform, with_defaults

logger = logging.getLogger(__name__)

KIND = "transform-job"
_BROKEN = "InternalServerError: We encountered an internal error. Please try again."
_MAX_REASON = 1024  # of a FailureReason


class TransformJobs:
    """The transform jobs of one service."""

    def __init__(self, context: Context, models: Models) -> None:
        self._context = context
        self._records = JobRecords(context, "Transform")
        self._models = models
        self._folder = context.state_dir / "transform"
        self._running: dict[str, tuple[Control, threading.Thread]] = {}
        self._lock = threading.Lock()
        self._stopping = False

    # --- operations ---

    def create(self, request: dict[str, Any], capacity_error: str | None = None) -> dict[str, Any]:
        """CreateTransformJob: the job runs in a thread of its own, with the model as it is now."""
        check_transform(request)
        name = request["TransformJobName"]
        arn = self._context.arns.of(KIND, name)
        now = self._context.clock()
        document = with_defaults({key: value for key, value in request.items() if key != "Tags"}) | {
            "TransformJobArn": arn,
            "TransformJobStatus": "InProgress",
            "CreationTime": now,
        }
        if capacity_error is not None:
            document["_CapacityError"] = capacity_error
        with self._context.store.transaction() as tx:
            if tx.get(KIND, name) is not None:
                raise ServiceError(
                    "ResourceInUse",
                    "Job name must be unique within an AWS account and region, and a transform job with this "
                    f"name already exists ({arn})",
                )
            document["_Model"] = self._models.served(tx, request["ModelName"])
            tx.set_tags(arn, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})
            self._records.put(tx, document)
        self._launch(name)
        return {"TransformJobArn": arn}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeTransformJob."""
        return self._records.describe(request)

    def list_page(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListTransformJobs."""
        members = (
            "TransformJobName",
            "TransformJobArn",
            "CreationTime",
            "TransformEndTime",
            "LastModifiedTime",
            "TransformJobStatus",
            "FailureReason",
        )
        return self._records.list_page(request, members, "Descending")

    def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        """StopTransformJob: the model server is killed; a file that isn't finished has no output."""
        name = request["TransformJobName"]
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            status = document["TransformJobStatus"]
            if status in TERMINAL:
                raise validation(f"The request was rejected because the transform job is in status {status}.")
            if status == "InProgress":
                document["TransformJobStatus"] = "Stopping"
                self._records.put(tx, document)
        with self._lock:
            running = self._running.get(document["TransformJobName"])
        if running is not None:
            running[0].end()
        return {}

    def wait(self, name: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Block until the job has ended; see `JobRecords.wait`."""
        return self._records.wait(name, timeout_s)

    # --- life cycle of the service ---

    def recover(self) -> None:
        """Go on with the jobs that an earlier process left: from the start, as on a new instance."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with self._context.store.transaction() as tx:
            left = [found.document for found in tx.all(KIND)]
        for document in left:
            if document["TransformJobStatus"] not in TERMINAL:
                self._launch(document["TransformJobName"])

    def shut_down(self) -> None:
        """End all processes; the jobs go on at the next start."""
        with self._lock:
            self._stopping = True
            running = list(self._running.values())
        for control, _ in running:
            control.end()
        for _, thread in running:
            thread.join(30.0)

    # --- inside ---

    def _launch(self, name: str) -> None:
        control = Control()
        thread = threading.Thread(
            target=self._run, args=(name, control), name=f"sagemaker-transform-{name}", daemon=True
        )
        with self._lock:
            if self._stopping:
                return
            self._running[name] = (control, thread)
        thread.start()

    def _run(self, name: str, control: Control) -> None:
        folder = self._folder / name
        try:
            self._end(name, self._reason_to_fail(name, folder, control))
        except Interrupted:
            pass  # the host stops; the job is as it was and is started again
        except Exception:
            logger.exception("transform job %s broke inside the host", name)
            self._end(name, _BROKEN)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._running.pop(name, None)

    def _reason_to_fail(self, name: str, folder: Path, control: Control) -> str | None:
        """Execute the job; None where it completed or was stopped.

        Raises:
            Interrupted: the host stops.
        """
        document = self._started(name)
        if document is None:
            return None
        try:
            TransformJob(self._context, document, folder, control).run()
        except TransformFailure as failure:
            return str(failure)
        except StorageError as error:
            return f"ClientError: {error}"
        except Interrupted:
            if self._records.find(name)["TransformJobStatus"] != "Stopping":
                raise
        return None

    def _started(self, name: str) -> dict[str, Any] | None:
        """Note that the job runs; None where it is being stopped already."""
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            if document["TransformJobStatus"] != "InProgress":
                return None
            document["TransformStartTime"] = self._context.clock()
            self._records.put(tx, document)
        return document

    def _end(self, name: str, failure: str | None) -> None:
        with self._context.store.transaction() as tx:
            document = self._records.find(name)
            document["TransformEndTime"] = self._context.clock()
            if document["TransformJobStatus"] == "Stopping":
                document["TransformJobStatus"] = "Stopped"
            elif failure is None:
                document["TransformJobStatus"] = "Completed"
            else:
                document["TransformJobStatus"] = "Failed"
                document["FailureReason"] = failure[:_MAX_REASON]
            self._records.put(tx, document)
