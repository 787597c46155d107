"""Put together what the chunks of large drops answered, and go on to the next phase.

Example event: ``events/merge_chunks.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.merge_chunks import merge_chunks
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    data_bucket: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    store = bootstrap.object_store()
    run_id, phase = event["run_id"], event["phase"]
    data_uri = f"s3://{settings.data_bucket}"
    merged = merge_chunks(run_id, phase, data_uri, store, bootstrap.chunk_tables(store))
    logger.info("merged chunks", merged=phase, next=merged.get("phase", {}).get("name"))
    return merged
