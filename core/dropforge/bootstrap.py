"""The composition root: the only place that builds adapters. Clients are made once per environment.

Each builder imports its adapter, so that a function loads what it uses and nothing else.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dropforge
from dropforge.importing import without_collection

with without_collection():
    import boto3
    from botocore.config import Config

if TYPE_CHECKING:
    from dropforge.adapters.sigv4_http_services import DynamoDbHttp
    from dropforge.domain.batch import BatchTables
    from dropforge.domain.chunk_tables import ChunkTables
    from dropforge.domain.ledger import Ledger
    from dropforge.domain.ports import ObjectStore
    from dropforge.domain.predictions import PredictionLog
    from dropforge.domain.preparing import Tables
    from dropforge.domain.services import Endpoints, EndpointScaling, Jobs, Registry, Workflows
    from dropforge.domain.training_code import TrainingCode
    from dropforge.tracking.tracker import Tracker

# Throttling and 5xx are retried with jitter by the SDK first, then by the state machine's Retry.
_CONFIG = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=60)
_TRAINING_MODULES = ("train", "inference", "model", "compiling", "build_backend")


@functools.cache
def _client(service: str) -> Any:
    with without_collection(is_kept=True):
        return boto3.client(service, config=_CONFIG)  # type: ignore[call-overload]


def ledger(table: str) -> Ledger:
    from dropforge.adapters.dynamodb_ledger import DynamoDbLedger

    return DynamoDbLedger(_client("dynamodb"), table)


def object_store() -> ObjectStore:
    from dropforge.adapters.object_store import S3ObjectStore

    return S3ObjectStore(_client("s3"))


def tables(store: ObjectStore) -> Tables:
    """Table files as streams. Loads pyarrow."""
    with without_collection():
        from dropforge.adapters.tables.streamed_tables import StreamedTables

    return StreamedTables(store)


def chunk_tables(store: ObjectStore) -> ChunkTables:
    """Chunks of table files. Loads pyarrow."""
    with without_collection():
        from dropforge.adapters.tables.chunked_tables import ChunkedTables

    return ChunkedTables(store)


def prediction_log(table: str, retention_days: int) -> PredictionLog:
    from dropforge.adapters.prediction_log import DynamoDbPredictionLog

    return DynamoDbPredictionLog(_dynamodb_http(), table, retention_days=retention_days)


def pseudonym_key(ledger_table: str) -> bytes | None:
    """The key of the pseudonyms in the log; None where no private column was ever logged."""
    from dropforge.ledger_table.reader import LedgerReader

    return LedgerReader(_dynamodb_http(), ledger_table).privacy_salt()


def _dynamodb_http() -> DynamoDbHttp:
    from dropforge.adapters.sigv4_http_services import DynamoDbHttp

    return DynamoDbHttp.from_env(os.environ)


def batch_tables(store: ObjectStore) -> BatchTables:
    """Files of batches as streams. Loads pyarrow."""
    with without_collection():
        from dropforge.adapters.tables.batch_tables import StreamedBatchTables

    return StreamedBatchTables(store)


def workflows() -> Workflows:
    from dropforge.adapters.step_functions import StepFunctionsWorkflows

    return StepFunctionsWorkflows(_client("stepfunctions"))


def registry(group: str) -> Registry:
    from dropforge.adapters.sagemaker import SageMakerRegistry

    return SageMakerRegistry(_client("sagemaker"), group)


def endpoints() -> Endpoints:
    from dropforge.adapters.sagemaker import SageMakerEndpoints

    return SageMakerEndpoints(
        functools.partial(_client, "sagemaker"),
        functools.partial(_client, "sagemaker-runtime"),
        functools.partial(_client, "cloudwatch"),
    )


def endpoint_scaling() -> EndpointScaling:
    from dropforge.adapters.scaling import ApplicationAutoScaling

    return ApplicationAutoScaling(
        functools.partial(_client, "application-autoscaling"), functools.partial(_client, "cloudwatch")
    )


def tracker(tracking: str) -> Tracker:
    from dropforge.adapters.mlflow_tracker import MlflowTracker

    return MlflowTracker.of(tracking, os.environ, object_store())


def jobs() -> Jobs:
    from dropforge.adapters.sagemaker import SageMakerJobs

    return SageMakerJobs(_client("sagemaker"))


@functools.cache
def training_code() -> TrainingCode:
    """The training scripts of their layer, what they import of the domain, and the wheels beside them.

    These are the ``code`` channel's files.

    Nothing else: each job fetches these, each model archive holds them, and their digest must not change with
    anything else.

    Raises:
        ModuleNotFoundError: the function lacks the layer that holds the training code.
    """
    from dropforge.domain.training_code import TrainingCode, what_is_imported

    files: dict[str, bytes] = {}
    wheels: dict[str, Path] = {}
    for name in _TRAINING_MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"The training code's layer has no {name}.py.")
        # And what lies beside it: in Lambda also other packages' modules, which none of these imports.
        folder = Path(spec.origin).parent
        files.update({path.name: path.read_bytes() for path in folder.glob("*.py")})
        wheels.update({f"wheels/{path.name}": path for path in folder.glob("wheels/*.whl")})
    package = Path(dropforge.__file__).parent
    for path in sorted([package / "__init__.py", *(package / "domain").rglob("*.py")]):
        files[(Path("dropforge") / path.relative_to(package)).as_posix()] = path.read_bytes()
    return TrainingCode(what_is_imported(_TRAINING_MODULES, files), wheels)


def now() -> datetime:
    return datetime.now(UTC)
