"""What became of each dropped file, and how those that wait or were set aside are trained on."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import quote

from nicegui import html

from dropforge.domain.batch_source import BatchSource, FileState, SourceFile
from dropforge.domain.drop_life import DropState, RecordedDrop
from dropforge_ops.actions.replays import DATA
from dropforge_ops.console.components.drop_zone import drop_zone
from dropforge_ops.console.components.feedback import empty_state
from dropforge_ops.console.components.layout import card, heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, link, moment
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.drops import DropsFound, read_drops
from dropforge_ops.render import size, what_became

# All of them are read, which costs; what just happened to one is on its run's page.
_KEPT_S: Final = 15.0
_TONES: Final = {
    DropState.WAITING: "warn",
    DropState.IN_RUN: "run",
    DropState.TRAINED: "ok",
    DropState.SET_ASIDE: "bad",
    DropState.SUPERSEDED: "mute",
}


def _note(drop: RecordedDrop) -> object:
    _, note = what_became(drop)
    if drop.state in (DropState.TRAINED, DropState.IN_RUN) and drop.run_id:
        return link(note, f"/runs/{quote(drop.run_id)}")
    return note


COLUMNS: Final[tuple[Column[RecordedDrop], ...]] = (
    Column("File", lambda drop: drop.drop.key.removeprefix("incoming/")),
    Column("State", lambda drop: chip(what_became(drop)[0], _TONES[drop.state])),
    Column("", _note),
    Column("Size", lambda drop: size(drop.drop.size), kind="number", narrow=False),
    Column("Written", lambda drop: moment(drop.written_at), narrow=False),
)


async def build(context: Context) -> None:
    """The list of drops."""
    heading("Drops", "What became of each dropped file")
    drop_zone(context)
    await live(context, partial(context.kept, read_drops, _KEPT_S), _show, every_s=_KEPT_S)


_FILE_TONES: Final = {
    FileState.SCORING: "run",
    FileState.SCORED: "ok",
    FileState.WAITING: "warn",
    FileState.FAILED: "bad",
}
FILE_COLUMNS: Final[tuple[Column[SourceFile], ...]] = (
    Column("File", lambda file: file.key),
    Column("State", lambda file: chip(str(file.state), _FILE_TONES[file.state])),
    Column("", lambda file: "" if file.error is None else f"{file.error['class']}: {file.error['message']}"),
    Column("Size", lambda file: size(file.size), kind="number", narrow=False),
    Column("Written", lambda file: moment(file.written_at), narrow=False),
)


def _show(found: DropsFound) -> None:
    _show_drops(found)
    if found.source is not None:
        _show_source(found, found.source)


def _show_source(found: DropsFound, source: BatchSource) -> None:
    with card("Files that are scored by themselves"):
        told = ", ".join(f"{number:,} {state}" for state, number in found.file_counts.items())
        html.p(f"What is new under {source.uri}: {told or 'nothing was scored yet'}.").classes("dim")
        if found.files:
            Table(FILE_COLUMNS, lambda file: file.key, label="Files of the batch source").show(found.files)
        with html.p():
            html.span("To look at once: ")
            html.code("dropforge batches now")
            if FileState.FAILED in found.file_counts:
                html.span(" Once what a file failed on is mended: ")
                html.code("dropforge batches retry FILE")


def _show_drops(found: DropsFound) -> None:
    if not found.drops:
        empty_state("Nothing was dropped yet", "Drop a CSV, JSON lines or Parquet file above.")
        return
    told = ", ".join(f"{number:,} {state.replace('_', ' ')}" for state, number in found.counts.items())
    more = f" The first {len(found.drops)} are shown." if found.total > len(found.drops) else ""
    html.p(f"{found.total:,} in all: {told}.{more}").classes("dim")
    Table(COLUMNS, lambda drop: drop.drop_id, label="Drops").show(found.drops)
    with card("Train now"):
        html.p("A run starts by itself with the next drop. What it trains on when it is started by hand:")
        for name, meaning in DATA.items():
            with html.p():
                html.code(f"dropforge runs start --data {name}")
                html.span(f" {meaning}")
        if DropState.SET_ASIDE in found.counts:
            with html.p():
                html.span("Once a file that was set aside can be used as it is: ")
                html.code("dropforge drops retry FILE")


PAGE: Final = Page("/drops", "Drops", build, within="/runs", takes_drops=True)
