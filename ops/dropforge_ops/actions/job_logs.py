"""What the training jobs of a run have printed, line by line, also while they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.domain.moments import iso
from dropforge_ops.errors import code_of

GROUP: Final = "/aws/sagemaker/TrainingJobs"
"""Where SageMaker puts the lines of all training jobs of an account."""


@dataclass(frozen=True)
class Line:
    """A line that a training job printed, and the job's name: a run may have needed several."""

    at: str
    job: str
    message: str


@dataclass
class JobLogs:
    """The lines of a run's training jobs.

    Args:
        logs: a boto3 client of CloudWatch Logs.
        prefix: what the names of the run's jobs begin with.
    """

    logs: Any
    prefix: str
    _tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[Line]:
        """Yield what was printed since the last call, the lines of one job after those of the other."""
        for stream in self._streams():
            yield from self._lines_of(stream)

    def _streams(self) -> list[str]:
        pages = self.logs.get_paginator("describe_log_streams").paginate(
            logGroupName=GROUP, logStreamNamePrefix=self.prefix
        )
        try:
            found = [each for page in pages for each in page["logStreams"]]
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            return []  # no job of this account has printed anything yet
        found.sort(key=lambda each: (each.get("creationTime", 0), each["logStreamName"]))
        return [each["logStreamName"] for each in found]

    def _lines_of(self, stream: str) -> Iterator[Line]:
        job = stream.partition("/")[0]
        while True:
            token = self._tokens.get(stream)
            answer = self.logs.get_log_events(
                logGroupName=GROUP,
                logStreamName=stream,
                startFromHead=True,
                **({} if token is None else {"nextToken": token}),
            )
            for event in answer["events"]:
                at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                yield Line(iso(at), job, str(event["message"]).rstrip("\n"))
            # A page may be empty before the end; the end is where the token stays the same.
            self._tokens[stream] = answer["nextForwardToken"]
            if answer["nextForwardToken"] == token:
                return
