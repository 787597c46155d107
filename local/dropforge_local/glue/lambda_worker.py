"""One Lambda execution environment: a process that sees what AWS's runtime gives it, and no more."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge_local.forking.spawner import end_group
from dropforge_local.glue.forked_environment import ForkedEnvironment
from dropforge_local.glue.lambda_bootstrap import _LOG_END
from dropforge_local.glue.lambda_environments import DEFAULT_VARIABLES, ExecutionEnvironments

# AWS: the initialisation may take 10 s before it is repeated under the function's own timeout.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
_INIT_S = 10.0
_POLL_S = 0.05
_SHARED_S = 1.0
_EXIT_S = 5.0
_LOG_S = 0.5
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, synchronous invocation payload.
MAX_RESPONSE_BYTES = 6 * 1024 * 1024


class _Silence(enum.Enum):
    """Why a process gave no answer."""

    EXIT = enum.auto()
    TIME = enum.auto()
    MEMORY = enum.auto()


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended: ``payload`` (JSON text) or ``error`` (Lambda's error document)."""

    payload: str | None
    error: dict[str, Any] | None
    log: str
    peak_memory_mb: int


class Environment:
    """The process of one execution environment and the protocol with it. Not safe for concurrent calls."""

    def __init__(
        self,
        shared: ExecutionEnvironments,
        config: Mapping[str, Any],
        code: Path,
        layers: list[Path],
        credentials: Mapping[str, str],
        reserved: frozenset[str],
    ) -> None:
        self._private = shared.private_dir()
        self._config = config
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._log: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.peak_memory_mb = 0
        self._shared_bytes, self._shared_measured_at = 0, -math.inf
        folders = shared.search_path(layers)
        self.process = shared.start(
            str(code),
            folders,
            self._variables(shared, code, credentials, reserved),
            str(config.get("Runtime", "")),
            str(self._private),
        )
        threading.Thread(target=self._read, args=(self.process.stdout, self._answers), daemon=True).start()
        threading.Thread(target=self._read, args=(self.process.stderr, self._log), daemon=True).start()
        process = self.process
        self._send(
            {
                "parent_pid": process.parent_pid if isinstance(process, ForkedEnvironment) else os.getpid(),
                "handler": config.get("Handler", ""),
                "search_path": [str(code), *folders, str(shared.runtime_dir)],
                "mounted": {
                    str(code): "/var/task",
                    str(shared.runtime_dir): "/var/runtime",
                    **{str(layer): "/opt" for layer in layers},
                },
            }
        )

    def _variables(
        self,
        shared: ExecutionEnvironments,
        code: Path,
        credentials: Mapping[str, str],
        reserved: frozenset[str],
    ) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime"""
        name = str(self._config.get("FunctionName", ""))
        logging = self._config.get("LoggingConfig") or {}
        declared = (self._config.get("Environment") or {}).get("Variables") or {}
        variables = {
            **DEFAULT_VARIABLES,
            "HOME": str(self._private),
            "TMPDIR": str(self._private),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": shared.endpoint_url,
            **{key: value for key, value in declared.items() if key not in reserved},
            "_HANDLER": str(self._config.get("Handler", "")),
            "AWS_REGION": shared.region,
            "AWS_DEFAULT_REGION": shared.region,
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._config.get("MemorySize", 128)),
            "AWS_LAMBDA_FUNCTION_VERSION": str(self._config.get("Version", "$LATEST")),
            "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup") or f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]{os.urandom(16).hex()}",
            "AWS_LAMBDA_LOG_FORMAT": logging.get("LogFormat") or "Text",
            "LAMBDA_TASK_ROOT": str(code),
            **{key: value for key, value in credentials.items() if value},
            **shared.runtime_variables(str(self._config.get("Runtime", ""))),
        }
        if level := logging.get("ApplicationLogLevel"):
            variables["AWS_LAMBDA_LOG_LEVEL"] = level
        return variables

    def wait_ready(self, timeout_s: float) -> Outcome | None:
        """Wait for the end of the initialisation; None once ready, otherwise how it failed."""
        answer = self._answer(time.monotonic() + _INIT_S + timeout_s)
        if isinstance(answer, _Silence):
            return self._ended(answer, None, _INIT_S + timeout_s)
        log = self._drain_log()
        if "init_error" in answer:
            return Outcome(None, answer["init_error"], log, self.peak_memory_mb)
        return None

    def invoke(self, invocation: Mapping[str, Any], timeout_s: float) -> Outcome:
        """Run one invocation; the environment is unusable afterwards where ``alive`` is false."""
        deadline = time.monotonic() + timeout_s
        self._send({**invocation, "deadline": time.time() + timeout_s})
        answer = self._answer(deadline)
        if isinstance(answer, _Silence):
            return self._ended(answer, invocation["request_id"], timeout_s)
        log = self._drain_log()
        if "error" in answer:
            return Outcome(None, answer["error"], log, self.peak_memory_mb)
        payload: str = answer["payload"]
        if (size := len(payload.encode())) > MAX_RESPONSE_BYTES:
            message = (
                f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            )
            error = {"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"}
            return Outcome(None, error, f"{log}\nThe response has {size} bytes.", self.peak_memory_mb)
        return Outcome(payload, None, log, self.peak_memory_mb)

    @property
    def alive(self) -> bool:
        """Whether the process can take another invocation."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process with all it started and remove its private files."""
        end_group(self.process)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        shutil.rmtree(self._private, ignore_errors=True)

    # --- the protocol --------------------------------------------------------------------------------

    def _send(self, message: Mapping[str, Any]) -> None:
        stream = self.process.stdin
        try:
            if stream is not None:
                stream.write(json.dumps(message) + "\n")
                stream.flush()
        except (BrokenPipeError, OSError):
            pass  # the process has ended; waiting for the answer reports it

    @staticmethod
    def _read(stream: Any, lines: queue.SimpleQueue[str | None]) -> None:
        try:
            for line in stream:
                lines.put(line.rstrip("\n"))
        except ValueError:
            pass  # closed while reading
        lines.put(None)

    def _answer(self, deadline: float) -> dict[str, Any] | _Silence:
        """The next answer, or why there is none."""
        limit_mb = int(self._config.get("MemorySize", 128))
        while True:
            try:
                line = self._answers.get(timeout=_POLL_S)
            except queue.Empty:
                if self._resident_mb() > limit_mb:
                    return _Silence.MEMORY
                if time.monotonic() > deadline:
                    return _Silence.TIME
                continue
            if line is None:
                return _Silence.EXIT
            self._resident_mb()
            answer: dict[str, Any] = json.loads(line)
            return answer

    def _resident_mb(self) -> int:
        """What the process has in memory, as far as a new process would have it."""
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
                resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0
        if isinstance(self.process, ForkedEnvironment):
            # The kernel walks the process's pages for this: not at every look of every waiting invocation.
            if (now := time.monotonic()) - self._shared_measured_at >= _SHARED_S:
                self._shared_bytes, self._shared_measured_at = self.process.untouched_bytes(), now
            resident -= self._shared_bytes
        resident_mb = resident // (1024 * 1024)
        self.peak_memory_mb = max(self.peak_memory_mb, resident_mb)
        return resident_mb

    def _ended(self, silence: _Silence, request_id: str | None, timeout_s: float) -> Outcome:
        """End the process and say why there was no answer, named as AWS names it."""
        label = f"RequestId: {request_id} " if request_id else ""
        if silence is _Silence.TIME:
            message, name = f"{label}Error: Task timed out after {timeout_s:.2f} seconds", "Sandbox.Timedout"
        else:
            how = "signal: killed"
            if silence is _Silence.EXIT:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if (code := self.process.wait(_EXIT_S)) >= 0:
                        how = f"exit status {code}"
            message, name = f"{label}Error: Runtime exited with error: {how}", "Runtime.ExitError"
        end_group(self.process)
        log = self._drain_log()
        self.close()
        error = {"errorType": name, "errorMessage": message}
        return Outcome(None, error, f"{log}\n{message}".strip(), self.peak_memory_mb)

    def _drain_log(self) -> str:
        """The log up to the end of the invocation, or up to the end of the process."""
        lines: list[str] = []
        while True:
            try:
                # What ended, and the end of an invocation, are both marked; a child may hold the pipe open.
                line = self._log.get(timeout=_LOG_S)
            except queue.Empty:
                break
            if line is None or line == _LOG_END:
                break
            lines.append(line)
        return "\n".join(lines)
