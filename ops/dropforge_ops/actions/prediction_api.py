"""Asks the stack's prediction function as its API does: what is predicted is logged, outcomes join by id.

The function is invoked with the request that API Gateway would make of it, so that who may operate the stack
needs no API key, whatever `ApiAuth` asks of callers: it is IAM that lets them invoke the function.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from dropforge_ops.actions.predictions import RequestRefused, until
from dropforge_ops.errors import CommandError, NotFound, OperationFailed
from dropforge_ops.stack.target import Target

# The API's own limit of instances and of outcomes in a request.
MAXIMUM_ITEMS = 500
FUNCTION, ALIAS = "PredictFunction", "live"
"""The API calls the alias, so that a new version is tried on a few requests first; so do we."""


class OutcomesRefused(OperationFailed):
    """Some outcomes were not recorded; ``recorded`` says how many were, ``problems`` names the others."""

    def __init__(self, message: str, recorded: int, problems: list[dict[str, Any]]) -> None:
        lines = "\n".join(f"  {each.get('id')}: {each.get('problem')}" for each in problems)
        super().__init__(f"{message}\n{lines}".rstrip(), recorded=recorded, problems=problems)
        self.recorded, self.problems = recorded, problems


class PredictionApi:
    """The routes of the prediction API, without its front door."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def predict(self, instances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Predict and log. Returns ``{"predictions": [{"id", …}, …], "model_version"}``, in the given order.

        Raises:
            RequestRefused: the instances break the live model's contract.
            CommandError: nothing is live, or the model failed.
        """
        found: list[dict[str, Any]] = []
        version = None
        for start in range(0, len(instances), MAXIMUM_ITEMS):
            part = list(instances[start : start + MAXIMUM_ITEMS])
            status, body = self._ask("POST", "/predict", {"instances": part})
            if status == 202:
                status, body = self._awaited(body["id"])
            if status != 200:
                raise _refusal(status, body, first=start)
            found += body["predictions"]
            version = body["model_version"]
        return {"predictions": found, "model_version": version}

    def find(self, prediction_id: str) -> dict[str, Any]:
        """A logged prediction, with its outcome where it is known.

        Raises:
            NotFound: there is none of that id, or it has expired.
        """
        path = f"/predictions/{prediction_id}"
        status, body = self._ask("GET", path, resource="/predictions/{id}", id=prediction_id)
        if status != 200:
            raise _refusal(status, body)
        return body

    def record_outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> int:
        """Record outcomes, each ``{"id", "label"}`` or ``{"id", "value"}``. Returns how many.

        Raises:
            OutcomesRefused: some were not recorded; the others were.
        """
        recorded = 0
        problems: list[dict[str, Any]] = []
        for start in range(0, len(outcomes), MAXIMUM_ITEMS):
            part = list(outcomes[start : start + MAXIMUM_ITEMS])
            status, body = self._ask("POST", "/outcomes", {"outcomes": part})
            error = body.get("error") or {}
            if status != 200 and not error.get("problems"):
                raise _refusal(status, body)
            recorded += int(body.get("recorded") or 0)
            problems += error.get("problems") or []
        if problems:
            raise OutcomesRefused(
                f"{len(outcomes) - recorded} of {len(outcomes)} outcomes were not recorded; {recorded} were.",
                recorded,
                problems,
            )
        return recorded

    def _awaited(self, identifier: str) -> tuple[int, dict[str, Any]]:
        """The answer of an asynchronous endpoint, or what it is after `ANSWER_S` seconds."""
        found: list[tuple[int, dict[str, Any]]] = []

        def look() -> bool:
            path = f"/predictions/{identifier}"
            found[:] = [self._ask("GET", path, resource="/predictions/{id}", id=identifier)]
            return found[0][0] != 202

        until(look, self._target.poll_s)
        return found[0]

    @cached_property
    def _caller(self) -> dict[str, Any]:
        """Who asks, as a request's context names callers who sign."""
        return {"identity": {"userArn": self._target.caller}}

    def _ask(
        self, method: str, path: str, document: Any = None, *, resource: str | None = None, **parameters: str
    ) -> tuple[int, dict[str, Any]]:
        event = {
            "httpMethod": method,
            "resource": resource or path,
            "path": path,
            "headers": {"Content-Type": "application/json"},
            "pathParameters": parameters or None,
            "stageVariables": {"ApiAuth": "iam"},
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "requestTimeEpoch": time.time_ns() // 1_000_000,
                **self._caller,
            },
            "body": None if document is None else json.dumps(document, ensure_ascii=False),
            "isBase64Encoded": False,
        }
        answer = self._target.client("lambda").invoke(
            FunctionName=self._target.resource(FUNCTION),
            Qualifier=ALIAS,
            Payload=json.dumps(event).encode(),
        )
        payload = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError") or not isinstance(payload, dict):
            said = payload.get("errorMessage") if isinstance(payload, dict) else payload
            raise OperationFailed(f"The prediction function failed: {said}. Its log group has the reason.")
        return int(payload["statusCode"]), json.loads(payload.get("body") or "{}")


def _refusal(status: int, body: Mapping[str, Any], *, first: int = 0) -> CommandError:
    error = body.get("error") or {}
    problems = [
        {**each, "instance": each["instance"] + first} if each.get("instance") is not None else each
        for each in error.get("problems") or []
    ]
    if error.get("type") in ("InvalidInstances", "UnscorableInstances"):
        return RequestRefused(problems)
    if status == 202:
        return OperationFailed(f"The endpoint has not answered yet. Ask for {body['id']} later.")
    text = f"{error.get('message') or body} ({error.get('type')}, HTTP {status})"
    return NotFound(text) if status == 404 or error.get("type") == "NoLiveModel" else OperationFailed(text)
