"""InvokeEndpointAsync: requests that wait in a queue, whose answers are put into S3.

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.deployment import Deployment
from dropforge_local.sagemaker.endpoints import Endpoints
from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.objects import Interrupted, StorageError, join_uri
from dropforge_local.sagemaker.runtime import Runtime
from dropforge_local.sagemaker.store import Resource
from dropforge_local.sagemaker.traffic import Lease

logger = logging.getLogger(__name__)

KIND = "asynchronous-request"
_TTL_S = 21_600
_TIMEOUT_S = 900
_LOOK_S = 1.0
_SENT = {
    "ContentType": "Content-Type",
    "Accept": "Accept",
    "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
    "InferenceId": "X-Amzn-SageMaker-Inference-Id",
}


class AsynchronousRequests:
    """The queues of all asynchronous endpoints. What is in one survives the host's end."""

    def __init__(self, context: Context, endpoints: Endpoints, runtime: Runtime) -> None:
        self._context, self._endpoints, self._runtime = context, endpoints, runtime
        self._spool = context.state_dir / "asynchronous"
        self._running: set[str] = set()
        self._threads: set[threading.Thread] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._dispatcher = threading.Thread(target=self._dispatch, name="sagemaker-asynchronous", daemon=True)

    def accept(self, live: Deployment, request: dict[str, Any]) -> dict[str, Any]:
        """Queue a request, and say where its answer or its error will be.

        Raises:
            ServiceError: the endpoint isn't asynchronous, or the request has no InputLocation.
        """
        name, fleet = request["EndpointName"], live.fleet
        if fleet is None or fleet.asynchronous is None:
            raise ServiceError("ValidationError", f"Endpoint {name} is not an asynchronous endpoint.")
        if "InputLocation" not in request:
            raise ServiceError(
                "ValidationError", "The local host does not support an inline Body; give InputLocation."
            )
        output = fleet.asynchronous["OutputConfig"]
        identifier = str(uuid.uuid4())
        below = [part for part in (request.get("S3OutputPathExtension"),) if part]
        file = request.get("Filename") or f"{identifier}.out"
        answer = {"InferenceId": request.get("InferenceId") or identifier}
        for member, path, made in (
            ("OutputLocation", "S3OutputPath", file),
            ("FailureLocation", "S3FailurePath", f"{identifier}-error.out"),
        ):
            if output.get(path):
                answer[member] = join_uri(output[path], *below, made)
        now = self._context.clock()
        document = {**request, **answer, "_Received": now}
        with self._context.store.transaction() as tx:
            arn = self._context.arns.of(KIND, identifier)
            tx.put(Resource(KIND, identifier, arn, document), created=now, modified=now, parent=name.lower())
        with self._changed:
            self._changed.notify_all()
        return answer

    def waiting(self, endpoint: str) -> list[Resource]:
        """What the endpoint hasn't answered yet, the oldest first."""
        with self._context.store.transaction() as tx:
            return [
                each for each in tx.all(KIND) if each.document["EndpointName"].lower() == endpoint.lower()
            ]

    def start(self) -> None:
        self._spool.mkdir(exist_ok=True)
        self._dispatcher.start()

    def shut_down(self) -> None:
        """Stop asking; what was being asked is asked again after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            threads = list(self._threads)
        self._dispatcher.join()
        for thread in threads:
            thread.join(1.0)

    # --- inside ---

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
            try:
                queued = self._begin()
            except Exception:
                logger.exception("asynchronous requests broke inside the host")
                queued = True
            with self._changed:
                if not self._stopping:
                    self._changed.wait(_LOOK_S if queued else None)

    def _begin(self) -> bool:
        """Hand waiting requests to instances that are free; whether any are left."""
        with self._context.store.transaction() as tx:
            requests = tx.all(KIND)
        left = False
        for request in requests:
            with self._changed:
                if request.name in self._running:
                    left = True
                    continue
            if self._is_over(request):
                continue
            left = True
            live = self._endpoints.live(request.document["EndpointName"])
            lease = None if live is None else self._lease(live)
            if live is None or lease is None:
                continue
            thread = threading.Thread(target=self._answer, args=(request, live, lease), daemon=True)
            with self._changed:
                self._running.add(request.name)
                self._threads.add(thread)
            thread.start()
        return left

    def _lease(self, live: Deployment) -> Lease | None:
        fleet = live.fleet
        config = (fleet.asynchronous if fleet else None) or {}
        most = (config.get("ClientConfig") or {}).get("MaxConcurrentInvocationsPerInstance")
        bound = most or self._context.limits.asynchronous_concurrency
        lease = live.traffic.acquire(None, 0)
        # The least busy instance is leased: if it is full, all are.
        if lease is not None and lease.instance.in_flight > bound:
            live.traffic.release(lease)
            return None
        return lease

    def _is_over(self, request: Resource) -> bool:
        """Whether the request has waited too long, or its endpoint was deleted; it is dropped then."""
        name, age_s = request.document["EndpointName"], self._context.clock() - request.document["_Received"]
        expired = age_s > request.document.get("RequestTTLSeconds", _TTL_S)
        if expired:
            self._context.ports.put_metric("ExpiredRequests", 1.0, "Count", {"EndpointName": name})
        elif self._endpoints.exists(name):
            return False
        self._forget(request)
        return True

    def _answer(self, request: Resource, live: Deployment, lease: Lease) -> None:
        document, name = request.document, request.document["EndpointName"]
        deadline = time.monotonic() + document.get("InvocationTimeoutSeconds", _TIMEOUT_S)
        objects, spool = self._context.objects(), self._spool / request.name
        asked = False
        try:
            with objects.open(document["InputLocation"], spool) as file:
                body = file.read()
            headers = {header: document[member] for member, header in _SENT.items() if document.get(member)}
            asked = True
            result = self._runtime.invoke_at(
                lease,
                live.traffic,
                name,
                body,
                headers,
                deadline=deadline,
                bound=self._context.limits.asynchronous_payload_bytes,
            )
            self._put(document["OutputLocation"], result.body, request)
            metric = "InvocationsProcessed"
        except (StorageError, ServiceError) as error:
            if self._stopping:
                return
            metric = "InvocationFailures"
            message = error.message if isinstance(error, ServiceError) else str(error)
            if "FailureLocation" in document:
                self._put(document["FailureLocation"], message.encode(), request)
        except Interrupted:
            return
        finally:
            if not asked:
                live.traffic.release(lease)
            spool.unlink(missing_ok=True)
            with self._changed:
                self._running.discard(request.name)
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()
        self._forget(request)
        self._context.ports.put_metric(metric, 1.0, "Count", {"EndpointName": name})

    def _put(self, uri: str, content: bytes, request: Resource) -> None:
        spool = self._spool / f"{request.name}.answer"
        spool.write_bytes(content)
        try:
            self._context.objects().upload(spool, uri)
        except StorageError:
            logger.exception("the answer to %s can't be put to %s", request.name, uri)
        finally:
            spool.unlink(missing_ok=True)

    def _forget(self, request: Resource) -> None:
        with self._context.store.transaction() as tx:
            tx.delete(KIND, request.name)
