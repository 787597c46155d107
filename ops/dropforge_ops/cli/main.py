"""The command line ``dropforge``. Exit codes: see `dropforge_ops.errors`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer
from typer.core import TyperGroup

from dropforge_ops.cli.commands import cost
from dropforge_ops.cli.commands.api import api
from dropforge_ops.cli.commands.batch import batch
from dropforge_ops.cli.commands.batches import list_files, look_now, retry_files
from dropforge_ops.cli.commands.card import card
from dropforge_ops.cli.commands.console import console
from dropforge_ops.cli.commands.contract import accept_contract, diff_contract, reset_contract, show_contract
from dropforge_ops.cli.commands.decide import approve, reject
from dropforge_ops.cli.commands.demo import demo
from dropforge_ops.cli.commands.doctor import doctor
from dropforge_ops.cli.commands.drift import drift
from dropforge_ops.cli.commands.drop import drop
from dropforge_ops.cli.commands.drops import list_drops, retry_drops
from dropforge_ops.cli.commands.export import grafana, image, mlflow
from dropforge_ops.cli.commands.forget import forget
from dropforge_ops.cli.commands.logs import logs
from dropforge_ops.cli.commands.models import models
from dropforge_ops.cli.commands.outcome import outcome
from dropforge_ops.cli.commands.predict import predict
from dropforge_ops.cli.commands.rollback import rollback
from dropforge_ops.cli.commands.runs import compare, list_runs, replay_run, show_run, start_run
from dropforge_ops.cli.commands.samples import samples
from dropforge_ops.cli.commands.teardown import teardown
from dropforge_ops.cli.commands.up import up
from dropforge_ops.cli.commands.wake import wake
from dropforge_ops.cli.commands.watch import (
    list_alarms,
    list_silences,
    silence_column,
    unsilence_column,
    watch_now,
)
from dropforge_ops.cli.groups import RunsGroup, group_with
from dropforge_ops.cli.invocation import command
from dropforge_ops.errors import ExitCode

_SHORT_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="dropforge",
    help="Drop data into S3; get a reviewed, self-retraining model. One stack is one model.",
    epilog="Exit codes: "
    + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode)
    + ". A local host that runs for this folder is found by itself; where it has died, AWS has to be named "
    + "(--profile, --region). Commands that ask need --yes where there is no terminal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SHORT_HELP,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dropforge {version('dropforge')}")
        raise typer.Exit


@app.callback()
def dropforge(
    *,
    version_: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Drop data into S3; get a reviewed, self-retraining model. One stack is one model."""


_COMMANDS: dict[str, Callable[..., None]] = {
    "up": up,
    "demo": demo,
    "drop": drop,
    "logs": logs,
    "models": models,
    "card": card,
    "approve": approve,
    "reject": reject,
    "rollback": rollback,
    "wake": wake,
    "predict": predict,
    "api": api,
    "outcome": outcome,
    "batch": batch,
    "drift": drift,
    "doctor": doctor,
    "forget": forget,
    "samples": samples,
    "teardown": teardown,
    "console": console,
}
_GROUPS: dict[str, tuple[type[TyperGroup], str, dict[str, Callable[..., None]]]] = {
    "runs": (
        RunsGroup,
        "What ran and what runs: 'runs' lists them, 'runs RUN' shows one.",
        {"list": list_runs, "show": show_run, "start": start_run, "replay": replay_run, "compare": compare},
    ),
    "drops": (
        group_with("list"),
        "What became of each dropped file; 'drops retry' brings back what was set aside.",
        {"list": list_drops, "retry": retry_drops},
    ),
    "batches": (
        group_with("list"),
        "Files of BatchSource, which are scored by themselves; 'batches now' looks for new ones at once.",
        {"list": list_files, "now": look_now, "retry": retry_files},
    ),
    "contract": (
        TyperGroup,
        "What drops have to look like, and accepting that they look different now.",
        {
            "show": show_contract,
            "diff": diff_contract,
            "accept": accept_contract,
            "reset": reset_contract,
        },
    ),
    "export": (
        TyperGroup,
        "What other tools can take over from a stack.",
        {"grafana": grafana, "image": image, "mlflow": mlflow},
    ),
    "watch": (
        group_with("now"),
        "A window at once, columns that are silenced for a time, and what became of each alarm.",
        {
            "now": watch_now,
            "alarms": list_alarms,
            "silence": silence_column,
            "unsilence": unsilence_column,
            "silences": list_silences,
        },
    ),
    "cost": (
        group_with("month"),
        "What a month costs; 'estimate' prices a run before it runs.",
        {
            "month": cost.month,
            "estimate": cost.estimate,
            "scale": cost.scale,
            "so-far": cost.so_far,
            "prices": cost.prices,
        },
    ),
}
for _name, _function in _COMMANDS.items():
    command(app, _name)(_function)
for _name, (_group, _help, _verbs) in _GROUPS.items():
    _verbs_app = typer.Typer(
        cls=_group, help=_help, no_args_is_help=_group is TyperGroup, context_settings=_SHORT_HELP
    )
    for _verb, _function in _verbs.items():
        command(_verbs_app, _verb)(_function)
    app.add_typer(_verbs_app, name=_name)


def main() -> None:
    """The entry point. SIGTERM ends a command as Ctrl-C does, so that what it started is stopped too."""
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
