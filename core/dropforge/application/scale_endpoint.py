"""Keep an endpoint with instances scaled between the bounds that the stack's parameters give."""

from __future__ import annotations

from dropforge.domain.records import Live
from dropforge.domain.services import Endpoints, EndpointScaling


def keep_scaled(live: Live, *, endpoints: Endpoints, scaling: EndpointScaling, most: int) -> bool:
    """Have the endpoint of what is live scaled, unless it is already; whether anything was changed.

    A real-time endpoint has one instance at least, an asynchronous one none. A serverless endpoint scales by
    itself, and one that is being moved is left alone. Safe to run again.

    Args:
        most: ``EndpointMaxInstances``.
    """
    state = endpoints.describe(live.endpoint_name)
    if state is None or state.status != "InService" or state.config != live.endpoint_config:
        return False
    if state.mode in (None, "serverless"):
        return False
    wanted = (0 if state.mode == "asynchronous" else 1, most)
    known = scaling.bounds(live.endpoint_name)
    if known == wanted or (known is None and wanted == (1, 1)):
        return False
    scaling.scale(live.endpoint_name, *wanted)
    return True
