"""Work on one chunk of large drops, in one of the phases of their preparation.

Example event: ``events/prepare_chunk.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dropforge import bootstrap
from dropforge.application.prepare_chunk import prepare_chunk
from dropforge.config import Settings
from dropforge.observability import logger


@dataclass(frozen=True)
class FunctionSettings(Settings):
    data_bucket: str


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
    store = bootstrap.object_store()
    done = prepare_chunk(event, f"s3://{settings.data_bucket}", store, bootstrap.chunk_tables(store))
    logger.info("prepared a chunk", **done)
    return done
