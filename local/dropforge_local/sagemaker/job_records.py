"""The stored state of jobs of one kind: training jobs or transform jobs."""

from __future__ import annotations

import time
from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.errors import ServiceError, validation
from dropforge_local.sagemaker.events import milliseconds
from dropforge_local.sagemaker.store import Query, Resource, Transaction
from dropforge_local.sagemaker.validation import shaped

TERMINAL = ("Completed", "Failed", "Stopped")


class JobRecords:
    """Reads and writes the documents of jobs; a change of state is told by an event.

    Args:
        noun: Training or Transform, as in ``TrainingJobName`` and ``DescribeTrainingJob``.
    """

    def __init__(self, context: Context, noun: str) -> None:
        self._context, self._noun = context, noun
        self.kind = f"{noun.lower()}-job"

    def find(self, name: str) -> dict[str, Any]:
        """The job's document.

        Raises:
            ServiceError: there is no such job.
        """
        with self._context.store.transaction() as tx:
            found = tx.get(self.kind, name)
        if found is None:
            raise validation("Requested resource not found.")
        return found.document

    def put(self, tx: Transaction, document: dict[str, Any]) -> None:
        """Store a job's new state, and the event that tells of it."""
        now = self._context.clock()
        document["LastModifiedTime"] = now
        arn, name = document[f"{self._noun}JobArn"], document[f"{self._noun}JobName"]
        tx.put(
            Resource(self.kind, name, arn, document),
            created=document["CreationTime"],
            modified=now,
            status=document[f"{self._noun}JobStatus"],
        )
        tx.emit(
            f"SageMaker {self._noun} Job State Change", self._told(document) | {"Tags": tx.tags(arn)}, [arn]
        )

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the kind's Describe operation answers."""
        return shaped(f"Describe{self._noun}Job", self.find(request[f"{self._noun}JobName"]))

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        """Forget a job that has ended.

        Raises:
            ServiceError: there is no such job, or it has not ended.
        """
        name = request[f"{self._noun}JobName"]
        status = self.find(name)[f"{self._noun}JobStatus"]
        if status not in TERMINAL:
            raise ServiceError("ResourceInUse", f"The job {name} is {status}; stop it and wait for its end.")
        with self._context.store.transaction() as tx:
            tx.delete(self.kind, name)
        return {}

    def list_page(self, request: dict[str, Any], members: tuple[str, ...], order: str) -> dict[str, Any]:
        """What the kind's List operation answers: those members of each job; ``order`` is its default."""
        with self._context.store.transaction() as tx:
            resources, token = tx.page(Query.requested(self.kind, request, order=order))
        summaries = [
            {member: found.document[member] for member in members if member in found.document}
            for found in resources
        ]
        return {f"{self._noun}JobSummaries": summaries} | ({"NextToken": token} if token else {})

    def wait(self, name: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Block until the job has ended; returns what Step Functions' ``.sync`` returns.

        PascalCase members, times in epoch milliseconds, ``Tags`` a map.

        Raises:
            ServiceError: there is no such job.
            TimeoutError: the job runs still after ``timeout_s`` seconds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        store = self._context.store
        with store.changed:
            while (document := self.find(name))[f"{self._noun}JobStatus"] not in TERMINAL:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    raise TimeoutError(f"{self._noun.lower()} job {name} runs still after {timeout_s} s")
                store.changed.wait(remaining)
            with store.transaction() as tx:
                tags = tx.tags(document[f"{self._noun}JobArn"])
        return self._told(document) | {"Tags": tags}

    def _told(self, document: dict[str, Any]) -> dict[str, Any]:
        shown = milliseconds(shaped(f"Describe{self._noun}Job", document))
        return shown if isinstance(shown, dict) else {}
