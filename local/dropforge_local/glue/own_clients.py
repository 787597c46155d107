"""boto3 clients of the host process for the host itself: its own requests go the way of everybody's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.settings import HostSettings

# Kept open; what more threads open is closed after its request.
_CONNECTIONS = 50


def own_client(settings: HostSettings) -> Callable[[str], Any]:
    """Clients by service name, one each. Call them from worker threads, never on the server's loop."""
    import boto3  # noqa: PLC0415 - a third of a second, wanted only in the host process
    from botocore.config import Config  # noqa: PLC0415

    session = boto3.session.Session(region_name=settings.region)
    making = threading.Lock()  # clients may be shared by threads, a session may not
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        with making:
            if service not in made:
                made[service] = session.client(
                    service,  # type: ignore[call-overload]
                    endpoint_url=f"http://127.0.0.1:{settings.port}",
                    aws_access_key_id="test",
                    aws_secret_access_key="test",  # noqa: S106 - the loopback host accepts any
                    config=Config(max_pool_connections=_CONNECTIONS),
                )
            return made[service]

    return client
