"""botocore's descriptions of AWS's services, read by one session, which takes longer to make than to use."""

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
