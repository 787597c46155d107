"""The model card of a version, as it is in the registry, to be read from top to bottom or printed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import quote

from nicegui import html

from dropforge_ops.actions import decisions
from dropforge_ops.actions.model_cards import Card, Section, read_card, sections
from dropforge_ops.console.components.feedback import notice
from dropforge_ops.console.components.layout import card
from dropforge_ops.console.components.tables import Column, folded_table
from dropforge_ops.console.components.text import chip, facts, link
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.run_files import CARD, PATH

type _Row = tuple[int, Sequence[str]]

_TONES: Final = {"Approved": "ok", "PendingReview": "warn"}
_WORDS: Final = {"PendingReview": "pending review"}


async def build(context: Context, version: str) -> None:
    """The card of a registered version."""
    target = context.target
    model = await context.read(decisions.parse_version, version, context.ledger)
    sagemaker = target.client("sagemaker")
    found = await context.read(read_card, model, target.bucket, context.ledger, context.documents, sagemaker)
    _head(found, model.run_id)
    for each in sections(found):
        with card(each.title):
            _draw(each)


def _head(found: Card, run_id: str) -> None:
    with html.div().classes("page-head"):
        html.h1("Model card")
    with html.div().classes("inline"):
        chip(
            _WORDS.get(found.status, found.status.lower()),
            _TONES.get(found.status, "mute"),
            title="The card's status in SageMaker's registry",
        )
        link("Download as Markdown", f"{PATH}/{quote(run_id)}/{CARD}")
    if found.note:
        notice(found.note, tone="warn")


def _draw(section: Section) -> None:
    for each in section.sentences:
        html.p(each).classes("card-text")
    if section.facts:
        facts(dict(section.facts))
    if section.rows:
        _table(section.title, section.rows)
    for part in section.parts:
        html.h3(part.title)
        _draw(part)


def _table(title: str, rows: Sequence[Sequence[str]]) -> None:
    head, *body = rows
    # A note is a text; whatever else stands beside a name is a number.
    columns = [
        Column[_Row](name, partial(_cell, place), "text" if place == 0 or name == "note" else "number")
        for place, name in enumerate(head)
    ]
    folded_table(columns, list(enumerate(body)), lambda row: str(row[0]), label=title)


def _cell(place: int, row: _Row) -> str:
    return row[1][place]


PAGE: Final = Page("/models/{version}/card", "Model card", build, within="/models")
