"""One run in detail: what the ledger, Step Functions and the run's own documents say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console

from dropforge.domain.data_report import DataReport
from dropforge.domain.records import Run
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.advice import next_steps, remedy
from dropforge_ops.errors import code_of
from dropforge_ops.render import (
    duration,
    facts,
    files,
    fitted_rows,
    hyperparameters,
    judged,
    moment,
    run_seconds,
    say,
    show_slices,
    status,
    table,
)
from dropforge_ops.stack.data_reports import read_data_report, show_data_report
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.progress import Follower, Visit
from dropforge_ops.stack.target import Target
from dropforge_ops.stack.training_jobs import TrainingJob, read_training_jobs

_EXAMPLES = 2


@dataclass(frozen=True)
class RunDetails:
    """A run with everything that is known about it; a part that isn't there (yet) is None or empty."""

    run: Run
    execution_status: str
    visits: Sequence[Visit]
    report: Mapping[str, Any] | None
    judgement: Mapping[str, Any] | None
    lineage: Mapping[str, Any] | None
    data: DataReport | None
    training_jobs: Sequence[TrainingJob] | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": self.run.to_dict(),
            "seconds": round(run_seconds(self.run), 3),
            "execution_status": self.execution_status,
            "states": [visit.to_dict() for visit in self.visits],
            "report": self.report,
            "data": None if self.data is None else self.data.to_dict(),
            "judgement": self.judgement,
            "lineage": self.lineage,
            "training_jobs": None
            if self.training_jobs is None
            else [each.to_dict() for each in self.training_jobs],
            "remedy": remedy((self.run.error or {}).get("class")),
            "next_steps": next_steps(self.run),
        }


def read(run: Run, target: Target, ledger: LedgerReader, documents: Documents) -> RunDetails:
    """Collect it. An execution that Step Functions has forgotten (after 90 days) has no states."""
    bucket = target.bucket
    follower = Follower(target.client("stepfunctions"), run.execution_arn)
    try:
        follower.look()
        execution_status = follower.status
    except ClientError as error:
        if code_of(error) != "ExecutionDoesNotExist":
            raise
        execution_status = "forgotten by Step Functions"

    content = cache(documents.content)  # the report tells of rejects, and of the data
    return RunDetails(
        run=run,
        execution_status=execution_status,
        visits=follower.all_visits,
        report=content(f"s3://{bucket}/runs/{run.run_id}/report.json"),
        judgement=content(f"s3://{bucket}/models/{run.run_id}/judgement.json"),
        lineage=content(f"s3://{bucket}/models/{run.run_id}/lineage.json"),
        data=read_data_report(run.run_id, bucket, ledger, content),
        training_jobs=read_training_jobs(target, run.run_id),
    )


def show(details: RunDetails, out: Console) -> None:
    """Print it for people."""
    run = details.run
    facts(
        out,
        [
            ("run", run.run_id),
            ("status", status(run.status)),
            ("trigger", run.trigger + (f" of {run.replay_of}" if run.replay_of else "")),
            ("trains on", files(run)),
            ("of them new", run.drops or None),
            ("requested by", run.requested_by),
            ("started", moment(run.started_at)),
            ("took", duration(run_seconds(run))),
            *(("training", each.in_words) for each in details.training_jobs or ()),
            ("version", run.version),
            ("commit", run.source_commit),
            ("execution", f"{details.execution_status}  {run.execution_arn}"),
        ],
    )
    for note in run.notes:
        say(out, f"note: {note}")
    _show_error(run, out)
    _show_states(details.visits, out)
    show_data_report(details.data, out)
    _show_rejects(details.report, out)
    _show_judgement(run, details.judgement, out)
    _show_lineage(details.lineage, out)
    steps = next_steps(run) if not run.error else []
    if steps:
        _head("Next", out)
        for step in steps:
            say(out, f"  {step}")


def _head(text: str, out: Console) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def _show_error(run: Run, out: Console) -> None:
    if run.error:
        _head("Error", out)
        facts(
            out,
            [
                ("class", run.error.get("class")),
                ("message", run.error.get("message")),
                ("what to do", remedy(run.error.get("class"))),
            ],
        )


def _show_states(visits: Sequence[Visit], out: Console) -> None:
    rows = [
        [
            "  " * visit.depth + visit.name,
            visit.entered_at.astimezone().strftime("%H:%M:%S.%f")[:-3],
            duration(visit.seconds()) + ("" if visit.left_at else " so far"),
            f"{visit.errors} failed attempt(s)" if visit.errors else "",
        ]
        for visit in visits
        if not visit.is_quiet
    ]
    if rows:
        _head("States", out)
        out.print(table(["state", "entered", "took", ""], rows))


def _show_rejects(report: Mapping[str, Any] | None, out: Console) -> None:
    rejects = [
        [each.get("count"), each.get("column") or "", each.get("rule"), _examples(each.get("examples") or [])]
        for each in (report or {}).get("rejects") or []
    ]
    if rejects:
        _head("Rejected rows", out)
        out.print(table(["rejected", "column", "rule", "for example"], rejects))


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
    shown = [f"{each.get('value')!r} in row {each.get('row')}" for each in examples[:_EXAMPLES]]
    return ", ".join(shown)


def _show_judgement(run: Run, judgement: Mapping[str, Any] | None, out: Console) -> None:
    reasons = (judgement or {}).get("reasons") or run.reasons
    if judgement is None and not reasons:
        return
    content = judgement or {}
    _head("Verdict", out)
    facts(out, judged(content))
    for reason in reasons:
        say(out, f"  {reason.get('message', reason)}")
    if content.get("slices"):
        _head("Slices of the hold-out", out)
        show_slices(content, out)


def _show_lineage(lineage: Mapping[str, Any] | None, out: Console) -> None:
    if lineage is None:
        return
    run = lineage.get("run") or {}
    _head("Lineage", out)
    facts(
        out,
        [
            ("estimator", lineage.get("estimator")),
            ("rows fitted", fitted_rows(lineage)),
            ("seed", lineage.get("seed")),
            ("hyperparameters", hyperparameters(lineage)),
            ("model digest", lineage.get("model_digest")),
            ("trained archive", lineage.get("model_data_url")),
            ("archive SHA-256", lineage.get("model_sha256")),
            ("data version", run.get("data_version")),
            ("contract", lineage.get("contract_hash")),
            ("code", run.get("code_sha256")),
            ("training job", run.get("training_job_arn")),
            ("instance type", run.get("instance_type")),
            ("libraries", ", ".join(f"{k} {v}" for k, v in sorted((lineage.get("libraries") or {}).items()))),
        ],
    )
