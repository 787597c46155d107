"""Executes one transform job: a model server, the input's records through it, the answers to S3."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.fleet import FleetFailure, Variant
from dropforge_local.sagemaker.instance import Instance, stop_all
from dropforge_local.sagemaker.objects import Interrupted, StorageError, join_uri, split_uri
from dropforge_local.sagemaker.transform_filters import FilterFailure
from dropforge_local.sagemaker.transform_records import (
    PayloadTooLarge,
    assembled,
    mini_batches,
    payload,
    records,
)
from dropforge_local.sagemaker.transform_request import (
    container_environment,
    invocation_limits,
    payload_bytes,
    processing_of,
    strategy_of,
)

LOG_GROUP = "/aws/sagemaker/TransformJobs"
_CLIENT_ERROR = "ClientError: See job logs for more information"
_ALGORITHM_ERROR = "AlgorithmError: See job logs for more information"
_NOT_HEALTHY = (
    "AlgorithmError: Model container failed to respond to ping; Ensure /ping endpoint is implemented and "
    "responds with an HTTP 200 status code"
)


class Control:
    """The strings attached to a running job. Safe to use from many threads."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._at_end: Callable[[], None] = lambda: None

    def end(self) -> None:
        """StopTransformJob, or the host stops: end the processes; whose description says which it was."""
        self._ending.set()
        self._at_end()

    def at_end(self, call: Callable[[], None]) -> None:
        """Have ``call`` made when the job is to end; right away if it is to end already."""
        self._at_end = call
        if self._ending.is_set():
            call()

    def check(self) -> None:
        """Raise ``Interrupted`` when the job is to go no further."""
        if self._ending.is_set():
            raise Interrupted


class TransformFailure(Exception):
    """The job has failed; the text is its FailureReason."""


class _Refused(Exception):
    """A file can't be transformed: what the data log says of it, and the job's reason."""

    def __init__(self, lines: list[str], reason: str) -> None:
        super().__init__(lines[0])
        self.lines, self.reason = lines, reason


class _Server(Variant):
    """The job's model server: an endpoint's, but its log and its environment are the job's."""

    def __init__(
        self, context: Context, folder: Path, document: dict[str, Any], changed: threading.Condition
    ) -> None:
        model = document["_Model"]
        container = model["_Container"]
        environment = {**container.get("Environment", {}), **container_environment(document)}
        settings = {
            "VariantName": "model",
            "InitialVariantWeight": 1.0,
            "InitialInstanceCount": document["TransformResources"]["InstanceCount"],
            "_Container": {**container, "Environment": environment},
            "_RoleArn": model["_RoleArn"],
            "_Isolated": model["_Isolated"],
        }
        super().__init__(context, document["TransformJobName"], folder, settings, changed)
        self._ports = context.ports
        self._job: str = document["TransformJobName"]
        self._started_at = int(context.clock())

    def stream_of(self, instance_id: str) -> str:
        """The log stream of an instance."""
        return f"{self._job}/{instance_id}-{self._started_at}"

    def _write_log(self, instance_id: str, lines: list[tuple[int, str]]) -> None:
        self._ports.put_log(LOG_GROUP, self.stream_of(instance_id), lines)


class TransformJob:
    """One attempt at one job.

    Args:
        document: the job's description, with its model as it was at the job's creation.
        folder: the attempt's private folder.
    """

    def __init__(self, context: Context, document: dict[str, Any], folder: Path, control: Control) -> None:
        self._context = context
        self._document = document
        self._folder = folder
        self._control = control
        self._input = document["TransformInput"]
        self._output = document["TransformOutput"]
        self._limit = payload_bytes(document)
        self._timeout_s, self._retries = invocation_limits(document)
        self._processing = processing_of(document)
        self._objects = context.objects(control.check)
        self._changed = threading.Condition()
        self._data_stream = ""

    def run(self) -> None:
        """Transform every input file; returns when all of them are in S3.

        Raises:
            TransformFailure: with the reason. Files that could be transformed are in S3 all the same.
            Interrupted: the job was stopped, or the host stops.
        """
        self._control.check()
        if reason := self._document.get("_CapacityError"):
            raise TransformFailure(f"CapacityError: {reason}")
        server = _Server(self._context, self._folder, self._document, self._changed)
        # Requests that the server is answering end with it, so that a stopped job waits for none.
        self._control.at_end(lambda: stop_all(server.instances))
        try:
            instance = self._serving(server)
            self._data_stream = f"{server.stream_of(instance.id)}/data-log"
            self._transform_all(instance)
        except (TransformFailure, StorageError):
            self._control.check()  # what was cut off by the job's end is no failure of its own
            raise
        finally:
            stop_all(server.instances)

    def _serving(self, server: _Server) -> Instance:
        """The model server, once it is healthy; it bounds the time itself."""
        try:
            server.prepare(self._control.check)
        except FleetFailure as failure:
            raise TransformFailure(f"ClientError: {failure}") from failure
        (instance,) = server.launch()
        with self._changed:
            while not instance.ready:
                self._control.check()
                if instance.failed:
                    raise TransformFailure(_NOT_HEALTHY)
                self._changed.wait(0.5)
        return instance

    # --- the input ---

    def _transform_all(self, instance: Instance) -> None:
        """Every file, also after one that can't be transformed: the others' results are usable."""
        self._note(
            f"MaxConcurrentTransforms={self._document['MaxConcurrentTransforms']}, "
            f"MaxPayloadInMB={self._document['MaxPayloadInMB']}, BatchStrategy={strategy_of(self._document)}"
        )
        reasons: list[str] = []
        for uri, name in self._inputs():
            try:
                self._transform(uri, name, instance.port)
            except _Refused as refused:
                self._control.check()
                bucket, key = split_uri(uri)
                self._note(*(f"{bucket}/{key}: {line}" for line in refused.lines))
                reasons.append(refused.reason)
        if reasons:
            raise TransformFailure(_ALGORITHM_ERROR if _ALGORITHM_ERROR in reasons else reasons[0])

    def _inputs(self) -> list[tuple[str, str]]:
        """The URI of every input file, and its path below the output path (without ``.out``)."""
        source = self._input["DataSource"]["S3DataSource"]
        uri = source["S3Uri"]
        try:
            if source["S3DataType"] == "ManifestFile":
                return self._manifest(uri)
            bucket, prefix = split_uri(uri)
            folder = prefix[: prefix.rfind("/") + 1]
            found = [(f"s3://{bucket}/{key}", key[len(folder) :]) for key in self._objects.keys(uri)]
        except StorageError as error:
            raise TransformFailure(f"ClientError: Data download failed:{error}") from error
        if not found:
            raise TransformFailure(
                f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given in input '
                "data source. Please ensure that the bucket exists in the selected region "
                f"({self._context.arns.region}), and that objects exist under that S3 prefix."
            )
        return found

    def _manifest(self, uri: str) -> list[tuple[str, str]]:
        """``[{"prefix": "s3://…/"}, "name", …]``; with it every file is named, and nothing is listed."""
        spool = self._folder / "manifest"
        self._objects.download(uri, spool)
        try:
            first, *names = json.loads(spool.read_bytes())
            return [(join_uri(first["prefix"], name), name) for name in names]
        except (ValueError, TypeError, KeyError) as error:
            raise TransformFailure(
                f'ClientError: The manifest file {uri} must be [{{"prefix": "s3://…"}}, "name", …]: {error}'
            ) from error

    def _transform(self, uri: str, name: str, port: int) -> None:
        given, made = self._folder / "input", self._folder / "output"
        try:
            self._objects.download(uri, given, decompress=self._input["CompressionType"] == "Gzip")
            with given.open("rb") as source, made.open("wb") as target:
                for answer in self._answers(source, port):
                    target.write(assembled(answer, self._output["AssembleWith"]))
            stored = join_uri(self._output["S3OutputPath"], f"{name}.out")
            self._objects.upload(made, stored, kms_key=self._output["KmsKeyId"] or None)
        except (StorageError, PayloadTooLarge, FilterFailure) as error:
            raise _Refused([f"ClientError: {error}"], _CLIENT_ERROR) from error
        finally:
            given.unlink(missing_ok=True)
            made.unlink(missing_ok=True)

    # --- requests ---

    def _answers(self, source: IO[bytes], port: int) -> Iterator[bytes]:
        """The answers to a file's mini-batches, in the file's order, a few requests at a time."""
        found = records(source, self._input["SplitType"], self._limit)
        batches = mini_batches(found, self._document["BatchStrategy"], self._limit)
        at_once = self._document["MaxConcurrentTransforms"]
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(at_once, thread_name_prefix="sagemaker-transform") as pool:
            try:
                for batch in batches:
                    waiting.append(pool.submit(self._answer, batch, port))
                    if len(waiting) >= at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _answer(self, batch: list[bytes], port: int) -> bytes:
        answer = self._asked(payload([self._processing.sent(record) for record in batch]), port)
        if not self._processing.changes_output:
            return answer
        parts = [answer] if len(batch) == 1 else answer.rstrip(b"\n").split(b"\n")
        if len(parts) != len(batch):
            raise _Refused(
                [f"ClientError: {len(batch)} records were sent and {len(parts)} came back: can't be joined"],
                _CLIENT_ERROR,
            )
        pairs = zip(batch, parts, strict=True)
        return b"\n".join(self._processing.stored(record, part) for record, part in pairs)

    def _asked(self, body: bytes, port: int) -> bytes:
        """The model's answer, after as many tries as the job allows; what the client got wrong has one."""
        for attempt in range(self._retries + 1):
            self._control.check()
            try:
                status, answer = self._post(body, port)
            except TimeoutError:
                lines = [
                    f"Model server did not respond to /invocations request within {self._timeout_s:g} seconds"
                ]
            except (OSError, http.client.HTTPException):
                lines = ["Unable to get response from algorithm"]
            else:
                if 200 <= status < 300:
                    return answer
                message = answer.decode("utf-8", "replace").splitlines()
                if 400 <= status < 500:
                    raise _Refused([f"ClientError: {status}", "", "Message:", *message], _CLIENT_ERROR)
                lines = [f"Bad HTTP status received from algorithm: {status}", "", "Message:", *message]
            if attempt == self._retries:
                raise _Refused(lines, _ALGORITHM_ERROR)
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: bytes, port: int) -> tuple[int, bytes]:
        headers = {
            "Content-Type": self._input.get("ContentType"),
            "Accept": self._output.get("Accept"),
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self._timeout_s)
        try:
            given = {name: value for name, value in headers.items() if value}
            connection.request("POST", "/invocations", body, given)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _note(self, *lines: str) -> None:
        """Write to the data log, which says of each file what became of it."""
        now = self._context.clock()
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        noted = [(int(now * 1000), f"{moment}:[sagemaker logs]: {line}") for line in lines]
        self._context.ports.put_log(LOG_GROUP, self._data_stream, noted)
