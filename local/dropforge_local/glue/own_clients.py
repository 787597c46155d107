"""boto3 clients of the host process for the host itself: its own requests go the way of everybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.settings import HostSettings


def own_client(settings: HostSettings) -> Callable[[str], Any]:
    """A factory of clients by service name. Call them from worker threads, never on the server's loop."""
    import boto3  # noqa: PLC0415 - a third of a second, wanted only in the host process

    session = boto3.session.Session(region_name=settings.region)

    def client(service: str) -> Any:
        return session.client(
            service,  # type: ignore[call-overload]
            endpoint_url=f"http://127.0.0.1:{settings.port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the loopback host accepts any
        )

    return client
