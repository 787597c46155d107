"""InvokeEndpoint: one request to one model server, and SageMaker's wording of what can go wrong."""

from __future__ import annotations

import http.client
import time

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.fleet import LOG_GROUP
from dropforge_local.sagemaker.traffic import Lease, Traffic
from dropforge_local.sagemaker.wire import InvocationResult

_CHUNK = 1 << 20
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
_ENDED = "The model server ended while it handled the request."


class Runtime:
    """Sends requests to model servers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def invoke(
        self,
        traffic: Traffic,
        endpoint: str,
        body: bytes,
        headers: dict[str, str],
        target_variant: str | None,
    ) -> InvocationResult:
        """Answer with what the model answers.

        Raises:
            ServiceError: ``ModelError``, 413, throttling, or no instance became ready in time.
        """
        limits = self._context.limits
        started = time.monotonic()
        lease = traffic.acquire(target_variant, limits.invocation_timeout_s)
        if lease is None:
            raise ServiceError(
                "ServiceUnavailable", f"No instance of endpoint {endpoint} is in service.", 503
            )
        serverless = lease.variant.serverless is not None
        return self.invoke_at(
            lease,
            traffic,
            endpoint,
            body,
            headers,
            deadline=started + limits.invocation_timeout_s,
            bound=limits.serverless_payload_bytes if serverless else limits.real_time_payload_bytes,
        )

    def invoke_at(
        self,
        lease: Lease,
        traffic: Traffic,
        endpoint: str,
        body: bytes,
        headers: dict[str, str],
        *,
        deadline: float,
        bound: int,
    ) -> InvocationResult:
        """Ask the leased instance, and give the lease back.

        Args:
            deadline: of the monotonic clock.
            bound: how many bytes a request or an answer may have.

        Raises:
            ServiceError: ``ModelError`` or 413.
        """
        started, status = time.monotonic(), 500  # a server that is silent, or answers too much, has failed
        try:
            if len(body) > bound:
                status = 413
                raise ServiceError("413", f"HTTP content length exceeded {bound} bytes.", 413)
            response, content = self._ask(lease, endpoint, body, headers, deadline=deadline, most=bound)
            if len(content) > bound:
                raise self._model_error(endpoint, 0, "server", f"The response is larger than {bound} bytes.")
            status = response.status
        finally:
            traffic.release(lease)
            self._count(endpoint, lease.variant.name, status, (time.monotonic() - started) * 1e6)
        if not 200 <= response.status < 300:
            kind = "client" if 400 <= response.status < 500 else "server"
            raise self._model_error(endpoint, response.status, kind, content.decode("utf-8", "replace"))
        return InvocationResult(
            body=content,
            content_type=response.headers.get("Content-Type") or "application/octet-stream",
            invoked_variant=lease.variant.name,
            custom_attributes=response.headers.get("X-Amzn-SageMaker-Custom-Attributes"),
        )

    def _count(self, endpoint: str, variant: str, status: int, latency_us: float) -> None:
        """https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html"""
        dimensions = {"EndpointName": endpoint, "VariantName": variant}
        put = self._context.ports.put_metric
        put("Invocations", 1.0, "None", dimensions)
        put("Invocation4XXErrors", float(400 <= status < 500), "None", dimensions)
        put("Invocation5XXErrors", float(status >= 500), "None", dimensions)
        put("ModelLatency", latency_us, "Microseconds", dimensions)

    def _ask(
        self,
        lease: Lease,
        endpoint: str,
        body: bytes,
        headers: dict[str, str],
        *,
        deadline: float,
        most: int,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's answer, read to its end or to a little more than it may have."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", lease.instance.port, timeout=max(deadline - time.monotonic(), 0.01)
        )
        try:
            connection.request("POST", "/invocations", body, headers)
            socket = connection.sock
            response = connection.getresponse()
            content = bytearray()
            while len(content) <= most and (chunk := response.read(_CHUNK)):
                content += chunk
                # A server that answers in drops gets no more time than one that is silent.
                if not response.isclosed():
                    socket.settimeout(max(deadline - time.monotonic(), 0.001))
            if len(content) <= most and response.length:
                # Reading by pieces doesn't say that the connection ended before the body did.
                raise http.client.IncompleteRead(bytes(content), response.length)
        except TimeoutError as error:
            raise self._model_error(endpoint, 0, "server", _TIMED_OUT) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._model_error(endpoint, 0, "server", _ENDED) from error
        finally:
            connection.close()
        return response, bytes(content)

    def _model_error(self, endpoint: str, status: int, kind: str, message: str) -> ServiceError:
        arns = self._context.arns
        group = f"{LOG_GROUP}/{endpoint}"
        url = (
            f"https://{arns.region}.console.aws.amazon.com/cloudwatch/home?region={arns.region}"
            f"#logEventViewer:group={group}"
        )
        text = (
            f'Received {kind} error ({status}) from primary with message "{message}". '
            f"See {url} in account {arns.account_id} for more information."
        )
        return ServiceError(
            "ModelError",
            text,
            424,
            OriginalStatusCode=status,
            OriginalMessage=message,
            LogStreamArn=f"arn:{arns.partition}:logs:{arns.region}:{arns.account_id}:log-group:{group}",
        )
