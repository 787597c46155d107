"""Predictions by an asynchronous endpoint: asked for now, answered, logged and read later.

What was asked lies in S3 beside the model's answer, and both together make the logged predictions. Whoever
comes first, the caller who asks again or the event of the answer's object, logs them; each is logged once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dropforge.application.predict_refusals import Refusal, unknown_prediction
from dropforge.domain.asynchronous import (
    REQUEST_TTL_S,
    SETTLED_AFTER_S,
    WAITING,
    LaterScorer,
    Objects,
    asked_at_ms,
    id_in_request,
    is_request_id,
    part_uri,
    request_id,
    request_of,
)
from dropforge.domain.errors import ModelError, ServiceUnavailable
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.predictions import PredictionLog, PredictionRecord, epoch_ms, is_prediction_id
from dropforge.domain.records import Live


@dataclass(frozen=True, slots=True)
class AsynchronousPredictions:
    """What asking later needs.

    Args:
        bucket: the data bucket.
    """

    scorer: LaterScorer
    objects: Objects
    log: PredictionLog
    bucket: str

    def ask(
        self, live: Live, kept: Sequence[Mapping[str, Any]], body: bytes, *, at_ms: int, request: str
    ) -> dict[str, Any]:
        """Queue a request of the model, and say by which ids its predictions can be asked for.

        Args:
            kept: what is to be logged of each instance.
            body: what the model is asked.
            at_ms, request: see `request_id`.

        Raises:
            EndpointMissing, ServiceUnavailable: nothing was queued.
        """
        identifier = request_id(at_ms, request)
        question = part_uri(self.bucket, "in", identifier)
        self.objects.write(question, body)
        output, failure = self.scorer.submit(
            live.endpoint_name, question, identifier=identifier, filename=f"{identifier}.json"
        )
        asked = {"model_version": live.version, "inputs": kept, "output": output, "failure": failure}
        self.objects.write(part_uri(self.bucket, "asked", identifier), json.dumps(asked).encode())
        return {
            "id": identifier,
            "status": WAITING,
            "predictions": [{"id": id_in_request(identifier, index)} for index in range(len(kept))],
            "model_version": live.version,
        }

    def result(self, identifier: str, live: Live | None, now: datetime) -> dict[str, Any]:
        """The whole answer to a request, by its own id or by that of one of its predictions.

        Returns:
            ``predictions`` and ``model_version`` as ``POST /predict`` answers at once, or ``status`` alone
            while it waits.

        Raises:
            Refusal: there is no such request, or nobody could answer it in time.
            ModelError: the model failed on it.
        """
        if not (is_request_id(identifier) or is_prediction_id(identifier)):
            raise unknown_prediction()
        request = identifier if is_request_id(identifier) else request_of(identifier)
        known = self.objects.find(part_uri(self.bucket, "answers", request))
        answer = json.loads(known[0]) if known else self.settle(request, live)
        if answer is not None:
            if is_prediction_id(identifier) and identifier not in [
                each["id"] for each in answer["predictions"]
            ]:
                raise unknown_prediction()
            return answer
        if epoch_ms(now) > asked_at_ms(request) + SETTLED_AFTER_S * 1000:
            raise Refusal(
                410,
                "PredictionExpired",
                f"No instance was free within {REQUEST_TTL_S // 60} minutes, so that nothing was predicted. "
                "Send the request again.",
            )
        return {"id": identifier, "status": WAITING}

    def settle(self, request: str, live: Live | None, *, is_due: bool = False) -> dict[str, Any] | None:
        """Log what the model answered, and keep the whole answer; None while there is none. Safe to repeat.

        Args:
            live: what serves now.
            is_due: the model is known to have answered.

        Raises:
            Refusal: there is no such request.
            ModelError: the model failed on it.
            ServiceUnavailable: what was asked isn't noted yet, though the model has answered.
        """
        found = self.objects.find(part_uri(self.bucket, "asked", request))
        if found is None:
            if is_due:
                raise ServiceUnavailable(f"What was asked in {request} is not noted yet.")
            raise unknown_prediction()
        asked = json.loads(found[0])
        output = self.objects.find(asked["output"])
        if output is None:
            failure = self.objects.find(asked["failure"]) if asked["failure"] else None
            if failure is None:
                return None
            raise ModelError(500, failure[0].decode("utf-8", "replace"))
        records = self._records(request, asked, output, live)
        logged = self.log.write_once(records)
        answer = {
            "predictions": [{"id": record.prediction_id, **record.output} for record in logged],
            "model_version": logged[0].model_version,
        }
        self.objects.write(part_uri(self.bucket, "answers", request), json.dumps(answer).encode())
        return answer

    def _records(
        self, request: str, asked: Mapping[str, Any], output: tuple[bytes, int], live: Live | None
    ) -> list[PredictionRecord]:
        content, answered_ms = output
        try:
            predictions = json.loads(content)["predictions"]
        except (ValueError, KeyError, TypeError):
            predictions = None
        if not isinstance(predictions, list) or len(predictions) != len(asked["inputs"]):
            raise ModelError(200, "the answer lacks one prediction per instance")
        version, at_ms = asked["model_version"], asked_at_ms(request)
        # Who waits over a promotion is answered by the new version.
        if live is not None and answered_ms >= epoch_ms(from_iso(live.promoted_at)):
            version = live.version
        at = iso(datetime.fromtimestamp(at_ms / 1000, UTC))
        latency_ms = float(max(answered_ms - at_ms, 0))
        return [
            PredictionRecord(id_in_request(request, index), at, version, inputs, prediction, latency_ms)
            for index, (inputs, prediction) in enumerate(zip(asked["inputs"], predictions, strict=True))
        ]
