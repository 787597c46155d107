"""``dropforge models``: the versions, who decided what on them, and which is live."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from dropforge.domain.records import Live, ModelVersion, StageChange
from dropforge_ops.actions import decisions
from dropforge_ops.actions.image_export import is_exported
from dropforge_ops.cli.commands.decide import show_candidate
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed
from dropforge_ops.render import approval, facts, metric, moment, say, table
from dropforge_ops.stack.data_reports import read_data_report, show_data_report


def models(
    invocation: Invocation,
    *,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A number, 'latest', or a model package's ARN.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Every change of stage and approval.")] = False,
) -> None:
    """The model's versions, the newest first; or one in detail."""
    live = invocation.ledger.live()
    if version is not None:
        _show_one(invocation, decisions.parse_version(version, invocation.ledger), live)
        return
    found = invocation.ledger.list_models()
    changes = {each.version: invocation.ledger.history(each.version) for each in found} if history else {}
    document: dict[str, Any] = {
        "live_version": None if live is None else live.version,
        "models": [_document(each, live, changes.get(each.version)) for each in found],
    }

    def show(out: Console) -> None:
        if not found:
            say(out, "There is no version yet. A run that passes the gate registers one.")
            return
        out.print(_table(found, live))
        if history:
            for each in found:
                out.print(f"\nVersion {each.version}", style="bold")
                out.print(_history(changes[each.version]))

    invocation.emit(document, show)


def _show_one(invocation: Invocation, model: ModelVersion, live: Live | None) -> None:
    changes = invocation.ledger.history(model.version)
    try:
        shown = decisions.candidate(model, invocation.ledger, invocation.documents)
    except OperationFailed as error:
        shown = None
        invocation.note(str(error))
    document = _document(model, live, changes)
    document["judgement"] = None if shown is None else shown.judgement.content
    data = read_data_report(
        model.run_id, invocation.target.bucket, invocation.ledger, invocation.documents.content
    )
    document["exported"] = is_exported(invocation.target, model)
    document["data"] = None if data is None else data.to_dict()

    def show(out: Console) -> None:
        facts(
            out,
            [
                ("package", model.model_package_arn),
                ("live", _said_of_live(model, live)),
                ("stage", str(model.stage)),
                ("approval", approval(model.approval)),
                ("archive", model.model_data_url),
                ("digest", model.model_digest),
                ("endpoint config", model.endpoint_config),
                *(
                    [("exported", "as an image, which may serve it elsewhere")]
                    if document["exported"]
                    else []
                ),
            ],
        )
        if shown is not None:
            out.print()
            show_candidate(shown, out)
        show_data_report(data, out)
        out.print()
        out.print(_history(changes))

    invocation.emit(document, show)


def _said_of_live(model: ModelVersion, live: Live | None) -> str:
    if live is not None and live.was_rejected(model):
        return "yes: rejected, still serving, until another version is live"
    return "yes" if _is_live(model, live) else "no"


def _document(model: ModelVersion, live: Live | None, changes: list[StageChange] | None) -> dict[str, Any]:
    document = {**model.to_dict(), "live": _is_live(model, live)}
    # A token is a key to the waiting run; it belongs in no output.
    document.pop("task_token")
    if changes is not None:
        document["history"] = [each.to_dict() for each in changes]
    return document


def _is_live(model: ModelVersion, live: Live | None) -> bool:
    return live is not None and live.version == model.version


def _table(found: list[ModelVersion], live: Live | None) -> Any:
    rows = [
        [
            _standing(each, live),
            each.version,
            str(each.stage),
            approval(each.approval),
            metric(each.metric),
            each.run_id,
            moment(each.registered_at),
            _decision(each),
        ]
        for each in found
    ]
    columns = ["", "version", "stage", "approval", "metric", "run", "registered", "decision"]
    return table(columns, rows, spare=("decision", "run", "stage"))


def _standing(model: ModelVersion, live: Live | None) -> Text:
    if live is not None and live.was_rejected(model):
        return Text("* rejected, still serving", style="bold red")
    return Text("* live" if _is_live(model, live) else "", style="bold green")


def _decision(model: ModelVersion) -> str:
    parts = [model.decided_by or "", moment(model.decided_at), model.decision_reason or ""]
    return ", ".join(each for each in parts if each)


def _history(changes: list[StageChange]) -> Any:
    rows = [
        [moment(each.at), str(each.stage), approval(each.approval), each.by or "", each.reason or ""]
        for each in changes
    ]
    return table(["when", "stage", "approval", "by", "why"], rows)
