"""The exported application: FastAPI before the very `exchange` that answers behind API Gateway.

    uvicorn --factory dropforge.image.app:create --no-access-log

What API Gateway does before a request reaches the predict function is done here: keys, unknown paths, limits.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.application.predict import PredictionService
from dropforge.application.predict_http import MAXIMUM_BODY_BYTES, exchange
from dropforge.config import Settings
from dropforge.domain.errors import InvalidSettings
from dropforge.image.cluster_log import NoLog, dynamodb
from dropforge.image.exported_model import ExportedModel
from dropforge.image.metrics import ServerMetrics
from dropforge.importing import without_collection
from dropforge.ledger_table.reader import LedgerReader

PORT: Final = 8080

_OPEN: Final = frozenset({"/health"})
_READ_AT_MOST_BYTES: Final = 10_000_000
"""API Gateway reads as much of a body: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
_INLINE_BYTES: Final = 16_384
"""A larger request is answered in a thread, so that it holds up nobody."""
_JSON: Final = "application/json"
_ABSENT_ID: Final = "0" * 32


class ServerSettings(Settings):
    """What a deployment decides; `PREDICTIONS_TABLE` alone turns logging on."""

    ORIGIN = "the server's environment: kubernetes/settings.env"

    api_auth: Literal["api-key", "none"] = "api-key"
    api_keys: tuple[str, ...] = ()
    api_keys_file: str | None = None
    cors_allowed_origin: str = "none"
    predictions_table: str = ""
    prediction_retention_days: int = 90
    ledger_table: str = ""
    exported_folder: str = "."


def create() -> FastAPI:
    """What uvicorn serves: settings from the environment, the model from the working directory."""
    # What is loaded lives as long as the process: no collection walks it again.
    with without_collection(is_kept=True):
        return application(os.environ)


def application(env: Mapping[str, str], registry: CollectorRegistry = REGISTRY) -> FastAPI:
    """Load the model, connect the log, and return the application.

    Raises:
        InvalidSettings: who may call is not said, or the log can't be reached as it is set.
        ArtifactChanged, InvalidModel: the folder is not what was exported.
    """
    settings = ServerSettings.from_env(env)
    keys, folder = _keys(settings), Path(settings.exported_folder)
    model = ExportedModel(folder / "model")
    log = _log(settings, env, model)
    service = PredictionService(models=model, scorer=model, log=log, clock=time.monotonic)
    metrics = ServerMetrics(model.live, is_logging=not isinstance(log, NoLog), registry=registry)
    server = _Server(settings, keys, service, metrics)

    document = json.loads((folder / "openapi.json").read_bytes())
    document["servers"] = [{"url": "/"}]
    app = FastAPIOffline(docs_url="/docs", redoc_url=None, title=document["info"]["title"])
    app.openapi = lambda: document  # type: ignore[method-assign]
    app.add_middleware(_Operations, server=server, paths=document["paths"])

    @app.get("/ready", include_in_schema=False)
    def ready() -> dict[str, Any]:
        """The model is loaded and the log was reached before the first connection is taken."""
        return {"status": "ready", "model_version": model.live.version}

    @app.get("/metrics", include_in_schema=False)
    def read_metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    app.add_exception_handler(404, server.unknown)
    app.add_exception_handler(405, server.unknown)
    return app


def _keys(settings: ServerSettings) -> list[str]:
    """The keys that callers send as x-api-key; none where anybody may call."""
    if settings.api_auth == "none":
        return []
    keys = [*settings.api_keys]
    if settings.api_keys_file is not None:
        try:
            keys += Path(settings.api_keys_file).read_text(encoding="utf-8").replace(",", "\n").splitlines()
        except OSError as error:
            raise InvalidSettings(
                f"API_KEYS_FILE={settings.api_keys_file}: {error.strerror}. It holds a key a line."
            ) from error
    keys = [key.strip() for key in keys if key.strip()]
    if not keys:
        raise InvalidSettings(
            "Nobody could call: API_KEYS names the keys that callers send as x-api-key, separated by commas, "
            "and API_KEYS_FILE a file with a key a line. API_AUTH=none opens the API to whoever reaches it."
        )
    return keys


def _log(settings: ServerSettings, env: Mapping[str, str], model: ExportedModel) -> Any:
    if not settings.predictions_table:
        _say(
            "WARNING",
            "predictions are not logged",
            {"why": "PREDICTIONS_TABLE is not set: nobody watches them"},
        )
        return NoLog()
    calls = dynamodb(env)
    if model.has_pseudonyms:
        salt = LedgerReader(calls, settings.ledger_table).privacy_salt() if settings.ledger_table else None
        if salt is None:
            raise InvalidSettings(
                "The contract keeps pseudonyms, whose key is in the stack's ledger: set LEDGER_TABLE, and "
                "send the stack's own API one prediction, which makes the key."
            )
        model.take_salt(salt)
    log = DynamoDbPredictionLog(
        calls, settings.predictions_table, retention_days=settings.prediction_retention_days
    )
    # A role that may not use the log fails here, so that no rollout goes on with it.
    log.get(_ABSENT_ID)
    _say("INFO", "predictions are logged", {"table": settings.predictions_table})
    return log


class _Server:
    """Turns requests into API Gateway's events, and its answers into responses."""

    def __init__(
        self,
        settings: ServerSettings,
        keys: Iterable[str],
        service: PredictionService,
        metrics: ServerMetrics,
    ) -> None:
        self._service, self._metrics = service, metrics
        self._digests = {hashlib.sha256(key.encode()).digest() for key in keys}
        self._is_open = settings.api_auth == "none"
        self._blocks = not isinstance(service.log, NoLog)
        self._stage = {"ApiAuth": "api-key", "CorsAllowedOrigin": settings.cors_allowed_origin}

    async def answer(
        self, path: str, parameters: Mapping[str, str], scope: Scope, receive: Receive
    ) -> Response:
        """Answer a request to one of the document's operations, whose path is written as there."""
        body = await _body(receive)
        started = time.perf_counter()
        method, request_id = scope["method"], str(uuid.uuid4())
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        caller = self._caller(headers)
        if caller is None and path not in _OPEN:
            return self._refused(f"{method} {path}", request_id, started, "INVALID_API_KEY", "Forbidden")
        event = {
            "httpMethod": method,
            "resource": path,
            "pathParameters": parameters,
            "headers": headers,
            **_text(body),
            "requestContext": {
                "requestId": request_id,
                "requestTimeEpoch": time.time_ns() // 1_000_000,
                "identity": {"apiKeyId": caller},
            },
            "stageVariables": self._stage,
        }
        if self._blocks or len(body) > _INLINE_BYTES:
            return await run_in_threadpool(self._answer, event, started)
        return self._answer(event, started)

    def _answer(self, event: dict[str, Any], started: float) -> Response:
        done = exchange(event, lambda: self._service, now=datetime.now(UTC))
        status, log = int(done.response["statusCode"]), done.log
        self._note(log, started, status)
        return Response(done.response["body"], status, done.response["headers"])

    async def unknown(self, request: Request, _: Exception) -> Response:
        """As API Gateway answers a path or a method that it doesn't have."""
        said = "Missing Authentication Token"
        started = time.perf_counter()
        return self._refused("none", str(uuid.uuid4()), started, "MISSING_AUTHENTICATION_TOKEN", said)

    def _refused(self, route: str, request_id: str, started: float, kind: str, message: str) -> Response:
        self._note({"request_id": request_id, "route": route, "error": kind, "status": 403}, started, 403)
        error = {"type": kind, "message": message, "problems": [], "request_id": request_id}
        headers = {"X-Request-Id": request_id}
        return Response(json.dumps({"error": error}), 403, headers, _JSON)

    def _note(self, log: Mapping[str, Any], started: float, status: int) -> None:
        seconds = time.perf_counter() - started
        self._metrics.note(log["route"], status, seconds, log.get("error"))
        _say(
            "ERROR" if status >= 500 else "INFO", "answered", {"duration_ms": round(seconds * 1000, 3), **log}
        )

    def _caller(self, headers: Mapping[str, str]) -> str | None:
        """Names the caller's key without giving it away; None where nobody known calls."""
        if self._is_open:
            return "anybody"
        digest = hashlib.sha256(headers.get("x-api-key", "").encode()).digest()
        known = [hmac.compare_digest(digest, each) for each in self._digests]
        return digest.hex()[:10] if any(known) else None


class _Operations:
    """Hands requests to the document's operations to the server, before FastAPI's own layers; others pass on.

    Nothing of them is FastAPI's to read or to check, and its layers cost a tenth of an answer.
    """

    def __init__(self, app: ASGIApp, server: _Server, paths: Mapping[str, Mapping[str, Any]]) -> None:
        self._app, self._server = app, server
        # A parameter is one segment of a path.
        self._paths = [
            (
                re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))),
                path,
                frozenset(operations),
            )
            for path, operations in paths.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            method = scope["method"].lower()
            for pattern, path, methods in self._paths:
                found = pattern.fullmatch(scope["path"])
                if found and method in methods:
                    response = await self._server.answer(path, found.groupdict(), scope, receive)
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _body(receive: Receive) -> bytes:
    """The body, at most one byte more than is taken; what comes after is read and forgotten."""
    kept, read = b"", 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        read += len(piece)
        kept += piece[: MAXIMUM_BODY_BYTES + 1 - len(kept)]
        # A client that has gone gets an answer that nobody reads.
        if not message.get("more_body", False) or read > _READ_AT_MOST_BYTES:
            return kept


def _text(body: bytes) -> dict[str, Any]:
    """A body as API Gateway hands it over. What is no UTF-8 goes as bytes, and is refused as such."""
    try:
        return {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - no client of good will needs it

        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _say(level: str, message: str, more: Mapping[str, Any]) -> None:
    """A line of the log, in the form of the functions' own."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"level": level, "message": message, "timestamp": at, **more}), flush=True)
