"""``dropforge up``: the local host, kept running."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dropforge.importing import without_collection
from dropforge_ops.actions.model_check import check_model, code_files, lock_libraries, pinned_contract
from dropforge_ops.cli.extras import require
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.cli.terminal import stop_signals
from dropforge_ops.errors import OperationFailed, UsageError
from dropforge_ops.render import facts, say
from dropforge_ops.stack.project import (
    DEFAULT_SAMPLE,
    asked_parameters,
    declared_parameters,
    deployed_parameters,
    find_root,
    merged_parameters,
    refuse_unknown_parameters,
)
from dropforge_ops.stack.samples import SAMPLES, sample_names
from dropforge_ops.stack.source_commit import PARAMETER, source_commit
from dropforge_ops.stack.target import DEFAULT_STACK, Target

if TYPE_CHECKING:
    from dropforge_ops.console.server import ConsoleServer

# How often to look whether the host process still lives.
_LOOK_S = 0.5
# Of these runs and versions a change is seen at once.
_NEWEST = 20


def up(
    invocation: Invocation,
    *,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample", metavar="NAME", help="Set up for a sample data set.", autocompletion=sample_names
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="COLUMN", help="The column to predict.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The column that tells rows apart.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="auto, binary, multiclass or regression.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="KEY=VALUE", help="A parameter of template.yaml."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 0,
    console_port: Annotated[
        int, typer.Option("--console-port", min=0, max=65535, help="The console's; 0 takes a free one.")
    ] = 0,
    keep_state: Annotated[
        bool,
        typer.Option("--keep-state/--fresh", help="Go on with what is there, or delete it and start over."),
    ] = True,
    mlflow: Annotated[
        bool,
        typer.Option("--mlflow", help="Also run MLflow's own server, and show all runs and models there."),
    ] = False,
    model_check: Annotated[
        bool,
        typer.Option(
            "--model-check/--no-model-check", help="First fit what training/model.py builds on a tiny table."
        ),
    ] = True,
) -> None:
    """Run everything on this machine until Ctrl-C. What happened survives and is there the next time."""
    require("up", "local", "console", *(["mlflow"] if mlflow else []))
    from dropforge_local.host import LocalHost  # noqa: PLC0415 - only here is there a host to start
    from dropforge_ops.stack.local_host import WAIT_SCALE, running, target_of  # noqa: PLC0415
    from dropforge_ops.stack.mlflow_server import (  # noqa: PLC0415
        TRACKING,
        free_port,
        is_of_this_machine,
        mlflow_server,
    )

    _refuse_options(invocation, {"--port": port, "--console-port": console_port})
    asked = asked_parameters(sample=sample, target=target, key=key, task=task, pairs=parameter or [])
    root = find_root()
    declared = declared_parameters(root)
    refuse_unknown_parameters(asked, declared)
    state = root / ".dropforge" / "state"
    stack = invocation.options.stack or DEFAULT_STACK
    if not keep_state:
        _delete_state(state)
    host = LocalHost(root, state_dir=state, port=port, announce=True, wait_scale=WAIT_SCALE)
    with stop_signals() as stop, running(host), ExitStack() as started:
        deployed = deployed_parameters(host.client("cloudformation"), stack)
        lock_libraries(root)
        if mlflow:
            invocation.note("Starting MLflow's server …")
            server = mlflow_server(state / "mlflow", free_port(), is_wanted=lambda: not stop.is_set())
            asked = {TRACKING: started.enter_context(server), **asked}
        elif is_of_this_machine((deployed or {}).get(TRACKING, "")):
            asked = {TRACKING: "", **asked}  # that server has ended
        # After that: it may write a file that is deployed.
        parameters = merged_parameters(deployed, {PARAMETER: source_commit(root), **asked}, declared)
        if model_check:
            contract = pinned_contract(host.client("cloudformation"), host.client("s3"), stack)
            check_model(root, contract=contract, parameters=parameters)
        if stop.is_set():
            return
        invocation.note(f"Local host on {host.endpoint_url}; deploying {stack} …")
        outputs = host.deploy(stack, parameters)
        stack_target = target_of(host, stack, outputs)
        console = _console_of(stack_target, console_port)
        url = started.enter_context(console).url
        host.announce_console(url)
        document = {
            "console_url": url,
            "endpoint_url": host.endpoint_url,
            "region": host.region,
            "stack_name": stack,
            "outputs": outputs,
            "parameters": parameters,
            "mlflow_url": parameters[TRACKING] if mlflow else None,
            "state_dir": str(state),
            "log": str(host.log_path),
        }
        _note_new_target(invocation, deployed, parameters)
        invocation.emit(document, lambda out: _show(out, document))
        code = _stand_of(root)
        told = None
        while not stop.wait(_LOOK_S):
            if mlflow:
                told = _told(stack_target, told)
            if _stand_of(root) != code:
                code = _stand_of(root)
                invocation.note(
                    "The code in training/ has changed. Runs go on with what was deployed: to deploy this, "
                    "press Ctrl-C and start 'dropforge up' again, which keeps all state."
                )
            if _has_ended(host.pid):
                raise OperationFailed(f"The local host has ended unexpectedly. Its log: {host.log_path}")
        invocation.note("Stopping …")
    invocation.note(f"Stopped. 'dropforge up' goes on from {state}.")


def _told(target: Target, told: object) -> object:
    """Have the tracker told of what has changed, rather than within a quarter of an hour as on AWS."""
    runs, models = target.ledger.list_runs(_NEWEST), target.ledger.list_models(_NEWEST)
    if (runs, models) != told:
        target.client("lambda").invoke(
            FunctionName=target.resource("ReconcileRunsFunction"), InvocationType="Event", Payload=b"{}"
        )
    return runs, models


def _stand_of(root: Path) -> dict[Path, tuple[int, int]]:
    """When each file that jobs train with was last written, and its size."""
    found = {}
    for path in code_files(root):
        with suppress(FileNotFoundError):  # an editor replaces it just now
            status = path.stat()
            found[path] = status.st_mtime_ns, status.st_size
    return found


def _console_of(target: Target, port: int) -> ConsoleServer:
    """The console of a stack on this machine, for this machine only."""
    # Loading a web server takes a second, which no other command shall pay.
    with without_collection():
        from dropforge_ops.console.context import Context  # noqa: PLC0415
        from dropforge_ops.console.server import ConsoleServer  # noqa: PLC0415
        from dropforge_ops.console.settings import Settings  # noqa: PLC0415

    return ConsoleServer(Context(target), Settings.of(port=port))


def _refuse_options(invocation: Invocation, ports: dict[str, int]) -> None:
    """Raise before anything starts where options make no sense here, or a port can't be listened on."""
    options = invocation.options
    if options.endpoint_url or options.profile or options.region:
        raise UsageError(
            "The local host has its own endpoint, region and credentials: leave out --endpoint-url, "
            "--profile and --region."
        )
    with ExitStack() as held:
        for option, port in ports.items():
            try:
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError as error:
                raise UsageError(
                    f"{option} {port}: {error.strerror} on this machine. Take another port, or leave the "
                    "option out, which finds a free one."
                ) from error


def _delete_state(state: Path) -> None:
    from dropforge_local.errors import HostAlreadyRunning  # noqa: PLC0415
    from dropforge_local.state_lock import StateLock  # noqa: PLC0415

    if not state.exists():
        return
    lock = StateLock(state)
    try:
        lock.acquire()
    except HostAlreadyRunning as error:
        raise UsageError(f"--fresh: {error}") from error
    try:
        shutil.rmtree(state)
    finally:
        lock.release()


def _has_ended(pid: int | None) -> bool:
    """Whether the host process, a child of this one, has ended; it is left for the host to collect."""
    if pid is None:
        return True
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _note_new_target(
    invocation: Invocation, deployed: dict[str, str] | None, parameters: dict[str, str]
) -> None:
    before = None if deployed is None else deployed.get("TargetColumn")
    if before is not None and before != parameters.get("TargetColumn"):
        invocation.note(
            f"The target was {before!r}. If a contract was pinned for it, unpin that with "
            "'dropforge contract reset', or start with --fresh."
        )


def _show(out: Console, document: dict[str, Any]) -> None:
    target = document["parameters"]["TargetColumn"]
    sample = next((each for each in SAMPLES.values() if each.target == target), None)
    facts(
        out,
        [
            ("console", document["console_url"]),
            ("mlflow", document.get("mlflow_url")),
            ("endpoint", document["endpoint_url"]),
            ("stack", document["stack_name"]),
            ("predicts", target),
            ("bucket", document["outputs"].get("DataBucket")),
            ("state", document["state_dir"]),
            ("log", document["log"]),
        ],
    )
    name = sample.name if sample is not None else DEFAULT_SAMPLE
    file = f"data/{name}.csv" if sample is not None else "FILE"
    steps = [f"dropforge samples {name} --to data"] if sample is not None else []
    steps += [
        f"dropforge drop {file} --wait",
        "dropforge runs",
        "dropforge approve latest --wait",
        "dropforge predict --sample-rows 3",
    ]
    say(
        out, f"\nOpen {document['console_url']} and drop a file there, or in another terminal in this folder:"
    )
    for step in steps:
        say(out, f"  {step}")
    out.print("\nCtrl-C stops it.")
