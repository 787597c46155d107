"""Run one function's handler in this process, on the local host that `make up` runs, to look into it.

python -m scripts.run_handler FUNCTION [EVENT] [--pdb]

FUNCTION is a folder of ``functions/``, EVENT a file of JSON (``events/FUNCTION.json`` by default). ``--pdb``
stops at the handler's first line. The handler has the deployed function's environment and changes the local
host's data.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pdb
import sys
import time
import types
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import boto3

from dropforge_local.announcement import Announcement, read_announcement
from dropforge_local.template import load_template

ROOT = Path(__file__).resolve().parent.parent
_TIME_LIMIT_S = 900


class Unusable(Exception):
    """What was asked for can't be run; the message says why and what to do."""


@dataclass(frozen=True)
class Context:
    """What Lambda tells a handler of its call."""

    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: int
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_version: str = "$LATEST"
    ends: float = field(default_factory=lambda: time.monotonic() + _TIME_LIMIT_S)

    def get_remaining_time_in_millis(self) -> int:
        """The time until the call would be ended: the most that Lambda gives."""
        return max(0, int((self.ends - time.monotonic()) * 1000))


def logical_id(folder: str, root: Path = ROOT) -> str:
    """The template's name of the function in a folder.

    Raises:
        Unusable: no function has this folder.
    """
    found = {
        str(resource["Properties"]["CodeUri"]).strip("/").removeprefix("functions/"): name
        for name, resource in load_template(root / "template.yaml")["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    if folder not in found:
        raise Unusable(f"no function is called {folder!r}; there are {', '.join(sorted(found))}.")
    return found[folder]


def handler_of(folder: str, root: Path = ROOT) -> Callable[[Any, Any], Any]:
    """The handler in ``functions/FOLDER/app.py``."""
    path = root / "functions" / folder / "app.py"
    loader = SourceFileLoader(f"functions.{folder}.app", str(path))
    module = types.ModuleType(loader.name)
    module.__file__ = str(path)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    handler: Callable[[Any, Any], Any] = module.handler
    return handler


def debugger_at(handler: Callable[[Any, Any], Any], **settings: Any) -> pdb.Pdb:
    """A debugger that stops first in the handler itself, not in what decorates it.

    Args:
        handler: the handler, decorated or not.
        settings: of `pdb.Pdb`.
    """
    code = inspect.unwrap(handler).__code__
    first = min(line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno)
    debugger = pdb.Pdb(readrc=False, **settings)
    debugger.set_break(code.co_filename, first)
    debugger.rcLines.append("continue")
    return debugger


def running_host() -> tuple[Announcement, str]:
    """The local host that runs for this folder, and its stack.

    Raises:
        Unusable: none does, or it has no stack yet.
    """
    host = read_announcement(ROOT)
    if host is None or host.stack_name is None:
        raise Unusable("no local host runs for this folder: start one with 'make up'.")
    return host, host.stack_name


def deployed(folder: str, client: Callable[..., Any], stack: str) -> Mapping[str, Any]:
    """The configuration of the function as it is deployed on the local host."""
    resource = client("cloudformation").describe_stack_resource(
        StackName=stack, LogicalResourceId=logical_id(folder)
    )
    name = resource["StackResourceDetail"]["PhysicalResourceId"]
    found: Mapping[str, Any] = client("lambda").get_function_configuration(FunctionName=name)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.run_handler", description=__doc__.split("\n")[0])
    parser.add_argument("function", help="a folder of functions/")
    parser.add_argument("event", nargs="?", type=Path, help="a file of JSON [default: events/FUNCTION.json]")
    parser.add_argument("--pdb", action="store_true", help="stop at the handler's first line")
    asked = parser.parse_args(arguments)
    try:
        host, stack = running_host()
        os.environ.update(
            AWS_ENDPOINT_URL=host.endpoint_url,
            AWS_DEFAULT_REGION=host.region,
            AWS_REGION=host.region,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - of the local host, which asks for none
        )
        function = deployed(asked.function, boto3.client, stack)
        event_path = asked.event or ROOT / "events" / f"{asked.function}.json"
        event = json.loads(event_path.read_text(encoding="utf-8"))
    except (Unusable, OSError, json.JSONDecodeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    variables = function.get("Environment", {}).get("Variables", {})
    # A number of the template is a number here, and a text in the process, as in the function's own.
    os.environ.update({name: str(value) for name, value in variables.items()})
    context = Context(function["FunctionName"], function["FunctionArn"], function["MemorySize"])
    handler = handler_of(asked.function)
    answer = debugger_at(handler).runcall(handler, event, context) if asked.pdb else handler(event, context)
    print(json.dumps(answer, indent=2, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
