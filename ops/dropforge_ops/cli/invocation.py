"""What every command has in common: its options, its output, its host, and how its errors end it."""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.waiting import Deadline
from dropforge_ops.errors import CommandError, ExitCode, Interrupted, OperationFailed, UsageError, from_aws
from dropforge_ops.render import say
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Options, Target, resolve

# Without a terminal nothing is cut off at 80 columns: whoever reads a log or pipes it wants the whole line.
_WIDTH_WITHOUT_TERMINAL = 200
MORE_TIME = "--timeout allows more time."


class Invocation:
    """One call of a command.

    Results go to stdout: as text, or with ``--json`` as one JSON document and nothing else. Everything
    that is said on the way goes to stderr.
    """

    def __init__(self, *, as_json: bool = False, options: Options | None = None) -> None:
        self.as_json = as_json
        self.options = options or Options()
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)
        # What goes on without this command, where it waits for something.
        self.goes_on = ""
        # While progress is shown, what stands in for stderr says that it is no terminal.
        self._has_terminal = sys.stdin.isatty() and sys.stderr.isatty()

    @cached_property
    def target(self) -> Target:
        """The host and stack that the command is meant for."""
        return resolve(self.options)

    @property
    def ledger(self) -> LedgerReader:
        """The stack's ledger."""
        return self.target.ledger

    @property
    def documents(self) -> Documents:
        """The JSON documents in the stack's bucket."""
        return self.target.documents

    @property
    def asks(self) -> bool:
        """Whether there is somebody to ask: a terminal on both sides, and no ``--json``."""
        return not self.as_json and self._has_terminal

    def confirm(self, question: str, *, yes: bool, no: str) -> bool:
        """Let somebody agree, unless ``--yes`` did. Whether somebody was asked: that took its time.

        Raises:
            OperationFailed: they did not; the message is ``no``.
            UsageError: nobody can be asked.
        """
        if yes:
            return False
        if not self.asks:
            raise UsageError(f"{question} Without a terminal, or with --json, nobody is asked: give --yes.")
        if not typer.confirm(question, err=True):
            raise OperationFailed(no)
        return True

    def deadline(self, seconds: float, goes_on: str, more: str = "") -> Deadline:
        """The bound of a wait for something that goes on without this command.

        Args:
            seconds: how long to wait.
            goes_on: what goes on and where to look; said where the time is up, and at Ctrl-C.
            more: what to do for more time.
        """
        self.goes_on = goes_on
        return Deadline(seconds, f"{goes_on} {more}".strip())

    def note(self, text: str) -> None:
        """Say something on the way."""
        say(self.err, text)

    def emit(self, document: Mapping[str, Any], show: Callable[[Console], None]) -> None:
        """Give the command's result."""
        if self.as_json:
            self.write_json(document)
        else:
            show(self.out)

    def write_json(self, document: Mapping[str, Any], *, indent: int | None = 2) -> None:
        """Write one JSON document to stdout."""
        text = json.dumps(document, indent=indent, ensure_ascii=False, default=str)
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def where(self) -> str:
        """The host's name for messages, also where none could be found."""
        try:
            return self.target.host
        except (CommandError, BotoCoreError, ClientError):
            return self.options.endpoint_url or "AWS"


JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout, and nothing else there.")
]
StackOption = Annotated[
    str | None,
    typer.Option("--stack", help="The stack, which is the model. [default: dropforge]", show_default=False),
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS configuration.")]
RegionOption = Annotated[str | None, typer.Option("--region", help="The AWS region.")]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint-url", help="A host that speaks AWS's APIs. A local one is found by itself."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]

_COMMON: Mapping[str, tuple[Any, Any]] = {
    "json_": (JsonOption, False),
    "stack": (StackOption, None),
    "profile": (ProfileOption, None),
    "region": (RegionOption, None),
    "endpoint_url": (EndpointOption, None),
    "debug": (DebugOption, False),
}


def command(
    app: typer.Typer, name: str, **settings: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of an `Invocation` and its own arguments as a command with the common options.

    Expected errors end it with their message and exit code (see `dropforge_ops.errors`), without a
    traceback unless ``--debug`` asks for one.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        common = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in _COMMON.items()
        ]
        kept = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

        def run(**values: Any) -> None:
            debug = values.pop("debug")
            options = Options(
                stack=values.pop("stack"),
                profile=values.pop("profile"),
                region=values.pop("region"),
                endpoint_url=values.pop("endpoint_url"),
            )
            invocation = Invocation(as_json=values.pop("json_"), options=options)
            code = call(invocation, lambda: function(invocation, **values), debug=debug)
            if code is not ExitCode.OK:
                raise typer.Exit(code)

        run.__signature__ = inspect.Signature([*kept, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*kept, *common)}
        run.__doc__ = function.__doc__
        app.command(name, **settings)(run)
        return function

    return register


def call(invocation: Invocation, action: Callable[[], None], *, debug: bool = False) -> ExitCode:
    """Run an action and turn its errors into messages. Returns the exit code."""
    try:
        action()
    except CommandError as error:
        return _end(invocation, error, debug)
    except (ClientError, BotoCoreError) as error:
        return _end(invocation, from_aws(error, invocation.where()), debug)
    except KeyboardInterrupt:
        return _end(invocation, Interrupted(f"Interrupted. {invocation.goes_on}".strip()), debug)
    except BrokenPipeError:
        # The reader of stdout has gone, as 'head' does; the interpreter's own flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _end(invocation: Invocation, error: CommandError, debug: bool) -> ExitCode:
    if debug:
        traceback.print_exc(file=sys.stderr)
    kind = "Wrong usage: " if isinstance(error, UsageError) else "Error: "
    invocation.note(f"{'' if isinstance(error, Interrupted) else kind}{error}")
    if invocation.as_json:
        problem = {"class": type(error).__name__, "message": str(error), "exit_code": int(error.exit_code)}
        invocation.write_json({"error": problem, **error.facts})
    return error.exit_code


def _console(stream: Any) -> Console:
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console
