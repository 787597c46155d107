"""How the model stands, at a glance."""

from __future__ import annotations

from typing import Final

from dropforge_ops.console.components.feedback import empty_state
from dropforge_ops.console.components.layout import card, grid, heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.text import facts, moment
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.overview import Overview, read_overview
from dropforge_ops.render import interval


async def build(context: Context) -> None:
    """The overview, kept up to date."""
    heading("Overview")
    await live(context, lambda: read_overview(context.ledger), _show)


def _show(found: Overview) -> None:
    with grid():
        with card("Live model"):
            _show_live(found)
        with card("Waiting for a decision"):
            if not found.waiting:
                empty_state("Nothing waits", "A run that passes the gate asks for a decision here.")
            for model in found.waiting:
                facts({"version": model.version, "registered": lambda at=model.registered_at: moment(at)})


def _show_live(found: Overview) -> None:
    live_now = found.live
    if live_now is None:
        empty_state("No model is live", "Drop a file, then approve the version that it makes.")
        return
    facts(
        {
            "version": live_now.version,
            live_now.metric.get("name", "metric"): interval(live_now.metric),
            "live since": lambda: moment(live_now.promoted_at),
        }
    )


PAGE: Final = Page("/", "Overview", build, icon="speed")
