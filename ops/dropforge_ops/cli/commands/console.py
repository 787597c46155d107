"""``dropforge console``: the same pages for a stack on AWS as for one on this machine."""

from __future__ import annotations

import webbrowser
from typing import Annotated, Any

import typer

from dropforge.importing import without_collection
from dropforge_ops.cli.extras import require
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.cli.terminal import stop_signals
from dropforge_ops.errors import OperationFailed
from dropforge_ops.render import say

_LOOK_S = 0.5


def console(
    invocation: Invocation,
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 0,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="DROPFORGE_CONSOLE_TOKEN",
            show_envvar=True,
            help="What a browser has to show first. Made where there is none and the address isn't loopback.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name it is reached by. Can be repeated."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show runs, models and drift in the browser, and decide there. Ctrl-C stops it."""
    require("console", "console")
    # Loading a web server takes a second, which no other command shall pay.
    with without_collection():
        from dropforge_ops.console.context import Context  # noqa: PLC0415
        from dropforge_ops.console.server import ConsoleServer  # noqa: PLC0415
        from dropforge_ops.console.settings import Settings  # noqa: PLC0415

    settings = Settings.of(host, port, token, tuple(allow_host or ()))
    target = invocation.target
    _ = target.outputs  # a stack that isn't there is an error of the command, not of a page
    with stop_signals() as stop, ConsoleServer(Context(target), settings) as server:
        document: dict[str, Any] = {
            "url": server.url,
            "entry_url": server.entry_url,
            "stack_name": target.stack,
            "host": target.host,
        }
        invocation.emit(document, lambda out: say(out, f"Console of {target.stack}: {server.entry_url}"))
        invocation.note("Ctrl-C stops it.")
        if open_:
            webbrowser.open(server.entry_url)
        while not stop.wait(_LOOK_S):
            if not server.is_running:
                raise OperationFailed("The console's web server has ended unexpectedly.")
