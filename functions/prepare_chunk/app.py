"""Work on one chunk of large drops, in one of the phases of their preparation.

Example event: ``events/prepare_chunk.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.prepare_chunk import prepare_chunk
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    data_bucket: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    store = bootstrap.object_store()
    done = prepare_chunk(event, f"s3://{settings.data_bucket}", store, bootstrap.chunk_tables(store))
    logger.info("prepared a chunk", **done)
    return done
