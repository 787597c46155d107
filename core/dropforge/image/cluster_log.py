"""The prediction log of a server in a cluster: the stack's own table, or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Never

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from dropforge.adapters.sigv4_http import Credentials, SignedHttp, Signer, endpoint_url
from dropforge.adapters.sigv4_http_services import DynamoDbHttp
from dropforge.application.predict_refusals import Refusal
from dropforge.domain.errors import InvalidSettings, ServiceUnavailable
from dropforge.domain.predictions import Label, OutcomeStatus, PredictionRecord, Window


class RenewedSigner:
    """Signs as `Signer` does, with what the SDK finds: a pod's role (IRSA) among others, renewed in time."""

    def __init__(self, region: str, service: str) -> None:
        self._region, self._service = region, service
        self._found: Any = get_session().get_credentials()
        if self._found is None:
            raise InvalidSettings(
                "There are no credentials to write the prediction log with. Annotate the service account "
                "with the role of aws/image.yaml, or leave PREDICTIONS_TABLE out."
            )
        self._current: tuple[Any, Signer] | None = None

    def headers(
        self, method: str, host: str, path: str, given: Mapping[str, str], body: bytes, now: float
    ) -> dict[str, str]:
        try:
            frozen, current = self._found.get_frozen_credentials(), self._current
        except (BotoCoreError, ClientError) as error:
            raise ServiceUnavailable(f"No credentials to use the prediction log with: {error}") from error
        if current is None or current[0] != frozen:
            credentials = Credentials(frozen.access_key, frozen.secret_key, frozen.token)
            self._current = current = (frozen, Signer(credentials, self._region, self._service))
        return current[1].headers(method, host, path, given, body, now)


def dynamodb(env: Mapping[str, str]) -> DynamoDbHttp:
    """Connect to the region's DynamoDB as the process's role, which may change while it runs."""
    region = env.get("AWS_REGION")
    if not region:
        raise InvalidSettings("AWS_REGION is missing: the region of the prediction log.")
    url = endpoint_url(env, "DYNAMODB", "dynamodb", region)
    return DynamoDbHttp(SignedHttp(url, RenewedSigner(region, "dynamodb")))


class NoLog:
    """``PredictionLog`` where nothing is kept. What asks for a kept prediction is refused, and told why."""

    def write(self, records: Sequence[PredictionRecord]) -> None:
        return

    def write_once(self, records: Sequence[PredictionRecord]) -> list[PredictionRecord]:
        return list(records)

    def find(self, prediction_ids: Sequence[str]) -> dict[str, PredictionRecord]:
        return {}

    def get(self, prediction_id: str) -> PredictionRecord | None:
        raise _not_kept()

    def record_outcomes(self, outcomes: Mapping[str, Label], *, now: datetime) -> dict[str, OutcomeStatus]:
        raise _not_kept()

    def window(self, *_: Any, **__: Any) -> Window:
        self._none_to_read()

    def labelled(self, *_: Any, **__: Any) -> Iterator[PredictionRecord]:
        self._none_to_read()

    def _none_to_read(self) -> Never:
        raise NotImplementedError("No predictions are kept here, and nobody watches from here.")


def _not_kept() -> Refusal:
    return Refusal(
        404,
        "UnknownPrediction",
        "This server keeps no predictions: it was started without PREDICTIONS_TABLE.",
    )
