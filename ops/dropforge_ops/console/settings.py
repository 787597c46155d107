"""Where the console listens, and who may talk to it."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass
from typing import Final, Self

from dropforge_ops.errors import UsageError

LOOPBACK: Final = "127.0.0.1"
# 128 bits in hexadecimal; a shorter one of the user's own could be guessed over the network.
_TOKEN_CHARACTERS = 32
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Settings:
    """``token`` is None where being on this machine is enough; ``names`` are further names of the host."""

    host: str
    port: int
    token: str | None
    names: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, host: str = LOOPBACK, port: int = 0, token: str | None = None, names: tuple[str, ...] = ()
    ) -> Self:
        """Settings that are safe for the address: beyond loopback there is always a token.

        Raises:
            UsageError: the address is none, or the token can be guessed.
        """
        address = _address(host)
        if token is not None and len(token) < _SHORTEST_TOKEN:
            raise UsageError(
                f"The token has {len(token)} characters; take {_SHORTEST_TOKEN} or more, or leave it out and "
                "one is made."
            )
        if token is None and not address.is_loopback:
            token = secrets.token_hex(_TOKEN_CHARACTERS // 2)
        return cls(str(address), port, token, frozenset(each.lower() for each in names))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the console."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def shown_host(self) -> str:
        """The host as it stands in a URL that a browser can open."""
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:
            return socket.gethostname()
        return f"[{address}]" if address.version == 6 else str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if host == "localhost":
        host = LOOPBACK
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError as error:
        raise UsageError(
            f"--host {host!r} is no IP address. 127.0.0.1 is this machine only, 0.0.0.0 every network."
        ) from error
