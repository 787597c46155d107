"""``python -m sam_local``: every function in a container with every example event.

Exit code 0: each answer is the expected one, or nothing can run here (SKIP, with the reason); 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dropforge_local.host import LocalHost
from dropforge_local.template import load_template
from sam_local import engine, image
from sam_local.cases import CASES, Case, judge
from sam_local.engine import Engine, NoEngine, output_of
from sam_local.relay import relayed
from sam_local.world import ROOT, World

BUILT = ROOT / ".aws-sam" / "build"
_INVOKE_S = 180.0
_START_S = 60.0
_END_S = 30.0
_LOG_SHOWN = 4000


class Sam:
    """aws-sam-cli in its own environment, on the built template with a real stack's variables."""

    def __init__(self, version: str, docker: Engine, template: Path) -> None:
        self._tool = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--python", sys.executable]
        self._tool += ["--from", f"aws-sam-cli=={version}"]
        self._docker = docker
        self._template = template

    def emulator(self) -> Path:
        """The runtime emulator that comes with it."""
        script = "import pathlib, samcli.local; print(pathlib.Path(samcli.local.__path__[0]))"
        package = Path(output_of([*self._tool, "python", "-c", script]).strip())
        return package / "rapid" / "aws-lambda-rie-x86_64"

    @contextlib.contextmanager
    def serving(self, log: Path) -> Iterator[Any]:
        """Serve the functions, a container each from its first call on. Yields a client of Lambda's API."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # Anybody's credentials would make sam ask AWS for the account; the functions get made-up ones.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        command = [*self._tool, "sam", "local", "start-lambda", "--template", str(self._template)]
        command += ["--port", str(port), "--warm-containers", "LAZY", "--skip-pull-image"]
        with log.open("wb") as written:
            process = subprocess.Popen(
                [*command, "--region", LocalHost.region],
                cwd=ROOT,
                env={**environment, **self._docker.environment(), "SAM_CLI_TELEMETRY": "0"},
                stdout=written,
                stderr=written,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self._await(process, port, log)
            yield boto3.client(
                "lambda",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name=LocalHost.region,
                config=Config(
                    signature_version=UNSIGNED,
                    read_timeout=_INVOKE_S,
                    retries={"total_max_attempts": 1},
                    proxies={},
                ),
            )
        finally:
            # uv passes a signal on to sam, which then removes its containers.
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @staticmethod
    def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoEngine(f"sam local start-lambda does not start: {log.read_text()[-500:]}")
            time.sleep(0.1)


def answer_of(functions: Any, case: Case, event: bytes) -> str:
    """What a function answers; an empty text where it was killed or took too long."""
    try:
        body: bytes = functions.invoke(FunctionName=case.resource, Payload=event)["Payload"].read()
    except (BotoCoreError, ClientError) as error:
        return f"{type(error).__name__}: {error}"
    return body.decode()


def template_for(world: World, endpoint_url: str) -> dict[str, Any]:
    """The built template, each function with the variables that the stack gives it."""
    template: dict[str, Any] = load_template(BUILT / "template.yaml")
    template["Globals"]["Function"].pop("Environment", None)
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            variables = {**world.environment(name), "AWS_ENDPOINT_URL": endpoint_url}
            resource["Properties"]["Environment"] = {"Variables": variables}
    return template


def run(version: str, scratch: Path, cases: Sequence[Case], answers: bool) -> int:
    """Run the cases, and print the answers if wanted. Returns how many failed.

    Raises:
        NoEngine: nothing can run here.
    """
    with contextlib.ExitStack() as stack:
        docker = stack.enter_context(engine.running(scratch))
        template = BUILT / "sam-local.json"
        sam = Sam(version, docker, template)
        began = time.monotonic()
        how = image.provide(docker, scratch, sam.emulator())
        print(f"image {image.NAME}: {how}, {time.monotonic() - began:.0f} s", flush=True)
        host = stack.enter_context(LocalHost(ROOT, wait_scale=0.2))
        began = time.monotonic()
        world = World(host, scratch)
        print(f"stack with run {world.run_id}, live: {time.monotonic() - began:.0f} s", flush=True)
        port = int(host.endpoint_url.rpartition(":")[2])
        endpoint_url = stack.enter_context(relayed(docker.gateway(), port))
        template.write_text(json.dumps(template_for(world, endpoint_url), indent=1))
        stack.callback(template.unlink)
        log = scratch / "sam.log"
        functions = stack.enter_context(sam.serving(log))
        failed = sum(not _passes(case, functions, world, answers) for case in cases)
        if failed:
            print(log.read_text(errors="replace")[-_LOG_SHOWN:])
        return failed


def _passes(case: Case, functions: Any, world: World, answers: bool) -> bool:
    event = world.payload(case)
    began = time.monotonic()
    answer = answer_of(functions, case, event)
    problem = judge(case, answer)
    word = "FAIL" if problem else "ok  "
    print(f"{word} {case.resource:26} events/{case.event}.json  {time.monotonic() - began:.1f} s", flush=True)
    for line in (problem, answer if problem or answers else ""):
        if line:
            print(f"     {line}", flush=True)
    return not problem


def main(version: str, cases: Sequence[Case], *, answers: bool) -> int:
    """Run everything, clean up, and say how it went."""
    # Whoever ends this process, what it started has to end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sam-local-") as scratch:
        try:
            failed = run(version, Path(scratch), cases, answers)
        except NoEngine as error:
            print(f"SKIP sam local: {error}")
            return 0
    print(f"{time.monotonic() - began:.0f} s in all")
    print(f"sam-local: {len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m sam_local", description=__doc__)
    arguments.add_argument("version", help="of aws-sam-cli")
    arguments.add_argument("--answers", action="store_true", help="print what each function answers")
    arguments.add_argument(
        "--only", nargs="+", metavar="EVENT", choices=[case.event for case in CASES], help="of these events"
    )
    given = arguments.parse_args()
    chosen = [case for case in CASES if not given.only or case.event in given.only]
    sys.exit(main(given.version, chosen, answers=given.answers))
