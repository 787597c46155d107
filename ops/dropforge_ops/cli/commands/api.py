"""``dropforge api``: how an application calls the prediction API."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge_ops.actions import api_calls, predictions
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import UsageError
from dropforge_ops.render import facts, say

_PROOF = {
    "api-key": f"a key in ${api_calls.KEY_VARIABLE}: export {api_calls.KEY_VARIABLE}=$(dropforge api --key)",
    "iam": "a signature with the caller's own AWS credentials",
    "cognito": f"an ID token of a user of the pool, in ${api_calls.TOKEN_VARIABLE}",
}


def api(
    invocation: Invocation,
    *,
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            metavar="NAME",
            help=f"Only the program in {', '.join(api_calls.LANGUAGES)}, to pipe or to save.",
            autocompletion=lambda: list(api_calls.LANGUAGES),
        ),
    ] = None,
    key: Annotated[
        bool, typer.Option("--key", help="Only the value of a key that the API accepts. It is a secret.")
    ] = False,
) -> None:
    """Show how an application asks the prediction API, with a row of the live model's hold-out."""
    if language is not None and language not in api_calls.LANGUAGES:
        raise UsageError(f"--language is {language!r}; there are {', '.join(api_calls.LANGUAGES)}.")
    address = api_calls.api_address(invocation.target)
    document: dict[str, Any] = {"url": address.url, "auth": address.auth}
    if key:
        document["key"] = api_calls.api_key(invocation.target)
        invocation.emit(document, lambda out: out.print(document["key"], soft_wrap=True, markup=False))
        return
    model = predictions.live_model(invocation.ledger, invocation.documents)
    (instance,) = predictions.sample_rows(model.live, invocation.documents, 1)
    written = api_calls.calls(address, instance)
    document |= {
        "version": model.live.version,
        "instance": instance,
        "calls": written if language is None else {language: written[language]},
    }

    def show(out: Console) -> None:
        if language is not None:
            sys.stdout.write(written[language])
            return
        facts(
            out,
            [
                ("address", address.url),
                ("callers need", _PROOF[address.auth]),
                ("answers", f"{model.contract.target}, by version {model.live.version}"),
            ],
        )
        for name, program in written.items():
            out.print(f"\n{name}", style="bold")
            # Not through the console, which would break lines that somebody copies.
            out.file.write(program)
        say(out, "")
        say(out, "All operations, fields and refusals: openapi.yaml, and docs/how-to/call-the-api.md.")

    invocation.emit(document, show)
