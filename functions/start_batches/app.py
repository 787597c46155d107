"""Score what is new under ``BatchSource``: start the batch machine for each file, a bounded number at a time.

With ``retry``, a list of keys, files that are scored or failed are scored once more.

Example event: ``events/start_batches.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.start_batches import BatchDesk, StartedBatches
from dropforge.config import Settings
from dropforge.domain.batch_source import BatchSource
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str
    data_bucket: str
    batch_machine_arn: str
    batch_files_at_once: int
    batch_source: str | None = None
    batch_source_bucket: str | None = None


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> StartedBatches:
    if settings.batch_source is None:
        return StartedBatches("BatchSource is empty, so no files are looked for.")
    desk = BatchDesk(
        source=BatchSource.of_stack(
            settings.batch_source, settings.batch_source_bucket, settings.data_bucket
        ),
        most=settings.batch_files_at_once,
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        workflows=bootstrap.workflows(),
        machine_arn=settings.batch_machine_arn,
    )
    started = desk.start(bootstrap.now(), event.get("retry", ()))
    logger.info(started.message, started=started.started, left=started.left, failed=started.failed)
    return started
