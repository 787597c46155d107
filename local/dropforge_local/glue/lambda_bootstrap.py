"""The process in which one Lambda execution environment runs: AWS's python3.12 runtime, in one file.

Started as a script with ``-S -s -P`` and a private environment, so that it sees the standard library and what
its first message names, and nothing of the host's packages. One JSON message per line on stdin and stdout;
the handler's own output goes to stderr, which the host reads as its log.

Behaviour follows AWS's open-source runtime client (awslambdaric's bootstrap.py): how a handler is found, the
names of errors that are the runtime's own, the shape of an error, the root logger's format.
"""

from __future__ import annotations

import copy
import ctypes
import decimal
import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_SERVICES = ("dynamodb", "s3", "sagemaker", "stepfunctions", "sns")
"""Whose clients most functions make: describing them takes the SDK most of the time that a client takes."""
_MOUNTED: dict[str, str] = {}  # a folder on this machine -> where Lambda mounts it
_LOG_END = "\x00end of invocation\x00"


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the host's spawning thread is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it went before the line above
        os._exit(1)


def load_ahead(services: Iterable[str] = _SERVICES) -> None:
    """Read the SDK's descriptions of services once for all processes that are forked from this one."""
    try:
        from botocore import session  # noqa: PLC0415 - a new process may do without
    except ImportError:
        return
    create = session.create_loader
    loaded = create()
    for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
        loaded.load_data(name)
    for service in services:
        for kind in ("service-2", "endpoint-rule-set-1"):
            loaded.load_service_model(service, kind, api_version=None)

    def create_loader(search_path_string: str | None = None) -> Any:
        if search_path_string is not None:
            return create(search_path_string)
        loader = create()
        # Each has its own list of folders and its own memory, as if it had read by itself.
        memory = {name: copy.copy(value) for name, value in vars(loaded).items() if name != "_search_paths"}
        vars(loader).update(memory)
        return loader

    session.create_loader = create_loader


def private_streams() -> tuple[IO[str], IO[str]]:
    """Keep stdin and stdout for the protocol; what the handler prints goes to stderr."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # Both live as long as the process.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    return requests, answers


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, invocation: dict[str, Any]) -> None:
        self.aws_request_id = invocation["request_id"]
        self.invoked_function_arn = invocation["invoked_function_arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.client_context = None
        self.identity = types.SimpleNamespace(cognito_identity_id=None, cognito_identity_pool_id=None)
        self._deadline = invocation["deadline"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's timeout, at least 0."""
        return max(0, int((self._deadline - time.time()) * 1000))

    def log(self, message: object) -> None:
        """Write to the function's log."""
        sys.stderr.write(str(message))


class _RequestFilter(logging.Filter):
    request_id = ""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id = _RequestFilter.request_id
        return True


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "requestId": _RequestFilter.request_id,
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["errorType"] = record.exc_info[0].__name__
            entry["errorMessage"] = str(record.exc_info[1])
            entry["stackTrace"] = traceback.format_exception(*record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging() -> None:
    """Give the root logger the handler and the level that AWS's runtime gives it."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON":
        handler.setFormatter(_JsonFormatter())
    else:
        text = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
        formatter = logging.Formatter(text, "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    handler.addFilter(_RequestFilter())
    logging.root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL")
    if level in ("DEBUG", "INFO", "WARN", "ERROR", "FATAL"):
        logging.root.setLevel(level)


class Fault(Exception):
    """An error of the runtime itself, with the name that AWS gives it."""

    def __init__(self, name: str, message: str, trace: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.trace = list(trace)


def find_handler(handler: str) -> Callable[[Any, LambdaContext], Any]:
    """The function that ``Handler`` names, as awslambdaric's ``_get_handler`` finds it."""
    module_name, separator, function_name = handler.rpartition(".")
    if not separator:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{handler}': not enough values to unpack")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault(
            "Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module"
        )
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault(
            "Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}"
        ) from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise Fault(
            "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace
        ) from error
    try:
        found: Callable[[Any, LambdaContext], Any] = getattr(module, function_name)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'"
        ) from None
    return found


def as_mounted(text: str) -> str:
    """The text with the folders named as they are in Lambda, so that traces read the same everywhere."""
    for folder, mounted in _MOUNTED.items():
        text = text.replace(folder, mounted)
    return text


def describe(error: Exception, request_id: str | None) -> dict[str, Any]:
    """The JSON document by which Lambda reports ``error``."""
    if isinstance(error, Fault):
        name, trace = error.name, error.trace
    else:
        name = type(error).__name__
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        trace = [as_mounted(line) for line in traceback.format_list(frames)]
    document: dict[str, Any] = {"errorMessage": str(error), "errorType": name}
    if request_id is not None:
        document["requestId"] = request_id
    document["stackTrace"] = trace
    return document


def log_error(document: dict[str, Any]) -> None:
    """Write the error to the function's log, as the runtime does."""
    lines = [f"[ERROR] {document['errorType']}: {document['errorMessage']}"]
    if document["stackTrace"]:
        lines.append("Traceback (most recent call last):")
        lines += [line.rstrip("\n") for line in document["stackTrace"]]
    sys.stderr.write("\n".join(lines) + "\n")


class _Encoder(json.JSONEncoder):
    def default(self, value: object) -> Any:
        if isinstance(value, decimal.Decimal):
            return float(value)
        return super().default(value)


def answer(handler: Callable[[Any, LambdaContext], Any], invocation: dict[str, Any]) -> dict[str, Any]:
    """Call the handler and return the answer's message."""
    request_id = invocation["request_id"]
    _RequestFilter.request_id = request_id
    os.environ.pop("_X_AMZN_TRACE_ID", None)
    if invocation.get("trace_id"):
        os.environ["_X_AMZN_TRACE_ID"] = invocation["trace_id"]
    try:
        result = handler(invocation["event"], LambdaContext(invocation))
        try:
            # NaN is no JSON: Step Functions and API Gateway refuse what Python would write.
            payload = json.dumps(result, ensure_ascii=False, cls=_Encoder, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None
    except Exception as error:
        document = describe(error, request_id)
        log_error(document)
        return {"error": document}
    return {"payload": payload}


def main() -> None:
    """Initialise, say so, then answer one invocation after the other."""
    requests, answers = private_streams()

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def end_of_log() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(2, (_LOG_END + "\n").encode())

    start = json.loads(requests.readline())
    die_with(start["parent_pid"])
    # AWS's order: the function, its layers (the last one first), the runtime's own packages, then Python's.
    sys.path[:0] = start["search_path"]
    _MOUNTED.update(start["mounted"])
    configure_logging()
    try:
        handler = find_handler(start["handler"])
    except Exception as error:
        document = describe(error, None)
        log_error(document)
        end_of_log()
        send({"init_error": document})
        return
    end_of_log()
    send({"ready": True})
    for line in requests:
        message = answer(handler, json.loads(line))
        end_of_log()
        send(message)


if __name__ == "__main__":
    main()
