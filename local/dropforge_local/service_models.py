"""botocore's descriptions of AWS's services, all read by one session: making one takes longer than reading."""

from __future__ import annotations

from functools import cache

import botocore.session
from botocore.model import ServiceModel


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


@cache
def service_model(service: str) -> ServiceModel:
    """The description of the service that botocore calls so.

    Raises:
        botocore.exceptions.UnknownServiceError: there is none.
    """
    return _session().get_service_model(service)
