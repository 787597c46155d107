"""``dropforge export``: what other tools can take over from a stack."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dropforge_ops.actions.grafana import grafana_dashboard
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed
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
