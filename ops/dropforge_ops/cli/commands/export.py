"""``dropforge export``: what other tools can take over from a stack."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dropforge.domain.records import ModelVersion
from dropforge_ops.actions.decisions import parse_version
from dropforge_ops.actions.grafana import grafana_dashboard
from dropforge_ops.actions.image_export import export_image, take_back
from dropforge_ops.actions.mlflow_export import export_to
from dropforge_ops.actions.mlflow_store import MlflowStore, store_uri
from dropforge_ops.cli.extras import require
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed, UsageError
from dropforge_ops.render import say
from dropforge_ops.stack.dashboard import read_dashboard


def grafana(
    invocation: Invocation,
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="The file to write.", show_default="grafana-STACK.json"),
    ] = None,
) -> None:
    """Write a Grafana dashboard of the stack's metrics, logs and alarms, to import or to provision."""
    dashboard = grafana_dashboard(read_dashboard(invocation.target))
    path = to or Path(f"grafana-{invocation.target.stack}.json")
    try:
        path.write_text(json.dumps(dashboard, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OperationFailed(
            f"{path} can't be written: {error.strerror}. Name another file with --to."
        ) from error

    queries = Counter(query["queryMode"] for panel in dashboard["panels"] for query in panel["targets"])
    document = {
        "path": str(path),
        "uid": dashboard["uid"],
        "panels": len(dashboard["panels"]),
        "metrics": queries["Metrics"],
        "log_queries": queries["Logs"],
    }

    def show(out: Console) -> None:
        say(
            out,
            f"{path} has {document['panels']} panels; a look at all asks for {document['metrics']} metrics "
            f"and {document['log_queries']} queries of logs, which CloudWatch bills. In Grafana, import it "
            "under Dashboards, New, Import, and choose a CloudWatch data source.",
        )

    invocation.emit(document, show)


def image(
    invocation: Invocation,
    *,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A number, 'latest', or a model package's ARN.")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="The folder to write, or to bring up to date."),
    ] = None,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Forget that the version was exported: nothing serves it any more."),
    ] = False,
) -> None:
    """Write a version as a FastAPI application, with Dockerfile, Kubernetes manifests and a workflow.

    It answers as the stack's API does, and logs predictions where the stack watches them. Once more into the
    same folder replaces 'app' and 'requirements.txt'; other files stay as they are. 'models VERSION' says
    that the version was exported, until --remove.
    """
    if (to is None) is not remove:
        raise UsageError("Give either --to DIR, or --remove.")
    model = parse_version(version, invocation.ledger)
    if to is None:
        _forget(invocation, model)
        return
    exported = export_image(invocation.target, model, to)
    document = {"path": str(to), **asdict(exported)}

    def show(out: Console) -> None:
        say(
            out,
            f"{to} has version {exported.version} with the contract {exported.contract_hash[:12]}: "
            f"{exported.files} files, of them written: {len(exported.changed)}.",
        )
        if exported.kept:
            say(out, f"Yours, and left as they are: {', '.join(exported.kept)}.")
        say(out, "What to do with it: docs/how-to/kubernetes.md.")

    invocation.emit(document, show)


def _forget(invocation: Invocation, model: ModelVersion) -> None:
    removed = take_back(invocation.target, model)
    said = "is no longer noted as exported" if removed else "was not noted as exported"
    text = f"Version {model.version} {said}. Folders and containers are as they were."
    invocation.emit({"version": model.version, "removed": removed}, lambda out: say(out, text))


def mlflow(
    invocation: Invocation,
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write, or to bring up to date.")
    ],
) -> None:
    """Write the stack's runs and versions into a folder that MLflow reads: metrics, plots, models.

    Once more into the same folder adds what is new, and changes nothing else. Versions are registered with
    their stage as alias: 'models:/NAME@production' is the live one.
    """
    require("export mlflow", "mlflow")
    telling = export_to(MlflowStore(folder), invocation.target)
    document = {"path": str(folder), "tracking_uri": store_uri(folder), **asdict(telling)}

    def show(out: Console) -> None:
        say(
            out,
            f"{folder} has runs: {telling.runs}, of them new: {telling.new_runs}; versions of "
            f"{telling.model!r}: {telling.versions}, of them new: {telling.new_versions}.",
        )
        if telling.under_way:
            say(out, f"{telling.under_way} under way: export again once they have ended.")
        if telling.models_gone:
            say(out, f"Not registered: {telling.models_gone}. The tag dropforge.model of a run says why.")
        say(out, f"Look at it: mlflow server --backend-store-uri {document['tracking_uri']}")

    invocation.emit(document, show)
