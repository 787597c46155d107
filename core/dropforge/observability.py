"""One logger for every function: structured, with the run's id, never with data rows."""

from __future__ import annotations

from dropforge.importing import without_collection

with without_collection():
    from aws_lambda_powertools import Logger

logger = Logger(service="dropforge", use_rfc3339=True)
