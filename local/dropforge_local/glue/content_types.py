"""The descriptions by which MiniStack corrects its answers' content types."""

from __future__ import annotations

import functools

from botocore.exceptions import UnknownServiceError
from botocore.model import ServiceModel

from dropforge_local.glue.seams import responses
from dropforge_local.service_models import service_model


def install() -> None:
    """Read them with one session: MiniStack makes one for every service that answers."""

    @functools.cache
    def described(service: str) -> ServiceModel | None:
        try:
            return service_model(responses._BOTOCORE_NAME.get(service, service))
        except UnknownServiceError:
            return None

    responses._service_model = described
