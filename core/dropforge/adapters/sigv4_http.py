"""AWS calls without the SDK: Signature Version 4 over kept-alive HTTP connections.

Creating an SDK client costs more than everything else that a prediction's cold start does, and each call
through one several times the CPU of this. The signature follows
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from dropforge.adapters.aws_error_codes import error_of, is_transient
from dropforge.domain.errors import InvalidSettings, ServiceUnavailable

_ALGORITHM = "AWS4-HMAC-SHA256"
_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.05
_PATIENCE_S = 10.0
_CONNECT_TIMEOUT_S = 3.0
# AWS's front ends close connections that idle; one that slept longer than this is opened anew.
_IDLE_S = 15.0
_MAXIMUM_IDLE_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs. `session_token` is None for a user's long-term key."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key})"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Credentials:
        """Read the keys that Lambda gives its processes; they stay valid as long as the process lives.

        Raises:
            InvalidSettings: there are none.
        """
        try:
            return cls(
                env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN") or None
            )
        except KeyError as missing:
            raise InvalidSettings(f"{missing.args[0]} is missing: there is nothing to sign with.") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CallRefused(Exception):
    """AWS refused a call. Adapters translate it; it never leaves them."""

    def __init__(self, code: str, message: str, answer: Answer) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.answer = code, message, answer


class Signer:
    """Signs requests to one service in one region. The signing key is derived once a day."""

    def __init__(self, credentials: Credentials, region: str, service: str) -> None:
        self._credentials = credentials
        self._region, self._service = region, service
        self._key: tuple[str, bytes] = ("", b"")

    def headers(
        self, method: str, host: str, path: str, given: Mapping[str, str], body: bytes, now: float
    ) -> dict[str, str]:
        """Return the headers to send, the signature among them.

        Args:
            path: the path as it is sent, percent-encoded; a query's fields are sorted and encoded as well.
            given: headers in lower case; all of them are signed.
            now: seconds since 1970-01-01 UTC.
        """
        path, _, query = path.partition("?")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        payload = hashlib.sha256(body).hexdigest()
        sent = {**given, "host": host, "x-amz-date": stamp}
        if self._credentials.session_token is not None:
            sent["x-amz-security-token"] = self._credentials.session_token
        if self._service == "s3":
            # S3 wants the digest as a header, and signs the path as it is sent; others encode it again.
            sent["x-amz-content-sha256"] = payload
        else:
            path = quote(path, safe="/-_.~")
        names = sorted(sent)
        canonical_headers = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in names)
        signed = ";".join(names)
        canonical = f"{method}\n{path}\n{query}\n{canonical_headers}\n{signed}\n{payload}"
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        signature = hmac.digest(self._signing_key(stamp[:8]), to_sign.encode(), "sha256").hex()
        sent["authorization"] = (
            f"{_ALGORITHM} Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        return sent

    def _signing_key(self, day: str) -> bytes:
        known, key = self._key
        if known != day:
            key = f"AWS4{self._credentials.secret_key}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (day, key)
        return key


class Headers(Protocol):
    """What makes the headers of a request, see `Signer`."""

    def headers(
        self, method: str, host: str, path: str, given: Mapping[str, str], body: bytes, now: float
    ) -> dict[str, str]: ...


class SignedHttp:
    """One service's endpoint: signed requests over connections that are kept. Safe for threads.

    Args:
        timeout_s: how long one answer may take.
        attempts: how often a request is sent at most.
        patience_s: after this long no further attempt is begun.
    """

    def __init__(
        self,
        url: str,
        signer: Headers,
        *,
        timeout_s: float = 10.0,
        attempts: int = _ATTEMPTS,
        patience_s: float = _PATIENCE_S,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidSettings(f"{url!r} is no endpoint URL; it must start with http:// or https://.")
        self._secure = parts.scheme == "https"
        self._hostname, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2]
        self._signer, self._timeout_s = signer, timeout_s
        self._attempts, self._patience_s = attempts, patience_s
        self._clock, self._pause = clock, pause
        self._idle: deque[tuple[float, http.client.HTTPConnection]] = deque()

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        read_error: Callable[[Answer], tuple[str, str]],
    ) -> Answer:
        """Send a request that may safely be sent twice; throttling, 5xx and broken connections are retried.

        Args:
            path: percent-encoded; a query's fields are sorted and encoded as well.
            headers: names in lower case.
            read_error: takes AWS's error code and message out of a refusal.

        Raises:
            CallRefused: AWS refused it, at last or for good.
            ServiceUnavailable: no answer.
        """
        path = f"{self._base}{path}" or "/"
        started = self._clock()
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._exchange(method, path, headers, body)
            except (OSError, http.client.HTTPException) as error:
                if self._is_last(attempt, started):
                    raise ServiceUnavailable(f"No answer from {self._host}: {error!r}") from error
            else:
                if answer.status < 300:
                    return answer
                code, message = read_error(answer)
                if not is_transient(code, answer.status) or self._is_last(attempt, started):
                    raise CallRefused(code, message, answer)
            # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
            self._pause(random.uniform(0, _FIRST_PAUSE_S * 2**attempt))  # noqa: S311 - no secret
        raise AssertionError("every attempt returns or raises")

    def _is_last(self, attempt: int, started: float) -> bool:
        return attempt == self._attempts or self._clock() - started > self._patience_s

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        now = self._clock()
        signed = self._signer.headers(method, self._host, path, headers, body, now)
        connection = self._reusable(now)
        if connection is not None:
            try:
                return self._ask(connection, method, path, signed, body)
            except (OSError, http.client.HTTPException):
                # The other side closed it while it idled; that costs no attempt.
                connection.close()
        connection = self._open()
        try:
            return self._ask(connection, method, path, signed, body)
        except BaseException:
            connection.close()
            raise

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        if response.will_close or len(self._idle) >= _MAXIMUM_IDLE_CONNECTIONS:
            connection.close()
        else:
            self._idle.append((self._clock(), connection))
        return answer

    def _reusable(self, now: float) -> http.client.HTTPConnection | None:
        while True:
            try:
                since, connection = self._idle.pop()
            except IndexError:
                return None
            if now - since < _IDLE_S:
                return connection
            connection.close()

    def _open(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._hostname, self._port, timeout=_CONNECT_TIMEOUT_S)
        connection.connect()
        if connection.sock is not None:
            connection.sock.settimeout(self._timeout_s)
        return connection


_CHINA: Final = "cn-"


def endpoint_url(env: Mapping[str, str], service_id: str, host_prefix: str, region: str) -> str:
    """Return where a service answers, as the SDKs choose it.

    Args:
        service_id: as in ``AWS_ENDPOINT_URL_<SERVICE_ID>``, for example ``SAGEMAKER_RUNTIME``. See
            https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
        host_prefix: the service's name in AWS's host names, for example ``runtime.sagemaker``.
    """
    if env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        given = env.get(f"AWS_ENDPOINT_URL_{service_id}") or env.get("AWS_ENDPOINT_URL")
        if given:
            return given
    return f"https://{host_prefix}.{region}.amazonaws.com{'.cn' if region.startswith(_CHINA) else ''}"


def translated(refused: CallRefused, doing: str) -> Exception:
    """The dropforge error for a refused call; ``doing`` says what was tried, as in 'reading s3://b/k'."""
    said = f"AWS refused {doing}: {refused.code}: {refused.message}"
    return error_of(refused.code, refused.answer.status, said)
