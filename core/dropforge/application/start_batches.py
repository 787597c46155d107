"""Start the scoring of what is new under ``BatchSource``, and note what became of what was started before."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from dropforge.domain.batch_source import MOST_TRIES, BatchSource, FileState, SourceFile, next_attempt
from dropforge.domain.drop_names import why_no_data
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import iso
from dropforge.domain.ports import ObjectStore
from dropforge.domain.services import Workflows

STOPPED: Final = "BatchStopped"
"""The class of a file whose transform job somebody stopped: it is not scored again behind their back."""


@dataclass(frozen=True)
class StartedBatches:
    """What one look at the source did, in files; ``left`` are new ones that a later look will start."""

    message: str
    started: int = 0
    in_progress: int = 0
    left: int = 0
    scored: int = 0
    failed: int = 0


@dataclass(frozen=True)
class BatchDesk:
    """What starting batches needs.

    Args:
        most: how many files may be scored at the same time.
        machine_arn: the batch machine.
    """

    source: BatchSource
    most: int
    ledger: Ledger
    store: ObjectStore
    workflows: Workflows
    machine_arn: str

    def start(self, now: datetime, retry: Iterable[str] = ()) -> StartedBatches:
        """Look at the source once.

        Effect: files whose execution is over are noted as scored, as waiting to be tried again, or as failed;
        of what waits and of what is new, the oldest are started, up to `most` in progress. Without a live
        model nothing is started, and nothing is lost by it. Safe to run twice, also at the same time: a file
        is noted before its execution is started, by a conditional write, and executions are named after the
        attempt.

        Args:
            retry: keys of files that are scored or failed and are to be scored once more.

        Raises:
            AccessDenied, ServiceRejected: the source can't be listed.
        """
        known = {each.key: each for each in self.ledger.source_files(self.source.bucket)}
        settled = dict(self._settled(known.values(), now))
        known |= settled
        if self.ledger.live() is None:
            return StartedBatches("No model is live yet, so nothing is scored. What is new stays new.")
        wanted = frozenset(retry)
        for each in [known[key] for key in wanted if key in known]:
            if each.state in (FileState.SCORED, FileState.FAILED):
                again = replace(each, state=FileState.WAITING, tries_left=MOST_TRIES, changed_at=iso(now))
                if self.ledger.put_source_file(again, known=each):
                    known[each.key] = again
        in_progress = sum(each.state is FileState.SCORING for each in known.values())
        found = list(self._due(known, now))
        oldest = heapq.nsmallest(
            max(0, self.most - in_progress), found, key=lambda each: (each.written_at, each.key)
        )
        started = [each for each in oldest if self._begin(each, known.get(each.key))]
        states = [each.state for each in settled.values()]
        return StartedBatches(
            message=f"{len(started)} of {len(found)} new files under {self.source.uri} are scored now.",
            started=len(started),
            in_progress=in_progress + len(started),
            left=len(found) - len(started),
            scored=states.count(FileState.SCORED),
            failed=states.count(FileState.FAILED),
        )

    def _due(self, known: Mapping[str, SourceFile], now: datetime) -> Iterator[SourceFile]:
        """What is to be scored: new objects, new contents, and what waits to be tried again."""
        for ref, written_at in self.store.list_written(self.source.uri):
            before = known.get(ref.key)
            if why_no_data(ref.key.removeprefix(self.source.prefix)) is not None:
                continue
            if before is not None and (
                # A newer content waits until the older one's execution is over.
                before.state is FileState.SCORING
                or (before.etag == ref.etag and before.state is not FileState.WAITING)
            ):
                continue
            yield next_attempt(before, ref, iso(written_at), now)

    def _settled(self, known: Iterable[SourceFile], now: datetime) -> Iterator[tuple[str, SourceFile]]:
        for each in [file for file in known if file.state is FileState.SCORING]:
            ended = self._ended(each, now)
            if ended is not None and self.ledger.put_source_file(ended, known=each):
                yield each.key, ended

    def _ended(self, file: SourceFile, now: datetime) -> SourceFile | None:
        """The file once its execution is over; None while it goes on."""
        end = self.workflows.end_of(file.execution_arn)
        if end is None:
            # Whoever noted the file may have been cut off before it started the execution.
            self._start(file)
            return None
        if end.error is None and end.output.get("verdict") == "stopped":
            told = {"class": STOPPED, "message": "Somebody stopped its transform job."}
            return file.ended(told, iso(now))
        return file.ended(end.error, iso(now))

    def _begin(self, file: SourceFile, before: SourceFile | None) -> bool:
        """Note the file and start its execution; False where another look was faster."""
        arn = f"{self.machine_arn.replace(':stateMachine:', ':execution:')}:{file.drop.run_id}"
        noted = replace(file, execution_arn=arn)
        if not self.ledger.put_source_file(noted, known=before):
            return False
        self._start(noted)
        return True

    def _start(self, file: SourceFile) -> None:
        self.workflows.start(self.machine_arn, name=file.drop.run_id, payload=file.event)
