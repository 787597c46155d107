"""Keeps parts of a page up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicegui import html, ui

from dropforge_ops.console.components.feedback import error_banner
from dropforge_ops.console.context import Context
from dropforge_ops.errors import CommandError

# After errors in a row the looks become rarer, up to this factor.
_MOST_PATIENT = 16


class Part[Shown]:
    """A part of a page that is drawn again when, and only when, what it shows has changed."""

    def __init__(self, draw: Callable[[Shown], None]) -> None:
        self._draw = draw
        self._shown: list[Shown] = []
        self._element = html.div().classes("live")

    def show(self, wanted: Shown) -> None:
        """Show this. It is compared with ``==``, so records are the thing to show."""
        if self._shown == [wanted]:
            return
        self._shown = [wanted]
        self._element.clear()
        with self._element:
            self._draw(wanted)


async def live[Found](
    context: Context,
    look: Callable[[], Found],
    show: Callable[[Found], None],
    *,
    every_s: float | None = None,
    until: Callable[[Found], bool] = lambda _: False,
) -> None:
    """Draw one part of the page here, and keep it up to date.

    ``look`` reads (it runs in a thread); ``show`` draws what it returned into an empty part. See `poll`.

    Raises:
        CommandError: the first look failed.
    """
    found = await context.read(look)
    problem = html.div()
    part = Part(show)
    part.show(found)
    if not until(found):
        _poll_into(problem, context, look, part.show, every_s, until)


def poll[Found](
    context: Context,
    look: Callable[[], Found],
    show: Callable[[Found], None],
    *,
    every_s: float | None = None,
    until: Callable[[Found], bool] = lambda _: False,
) -> None:
    """Look again and again, and pass on what was found, for a page whose parts are drawn one by one.

    Where a look fails, what is shown stays and a banner here says what went wrong until it works again.
    Looks end when ``until`` is true of what was found.
    """
    _poll_into(html.div(), context, look, show, every_s, until)


@dataclass
class _State:
    is_busy: bool = False
    failures: int = 0
    ticks: int = 0

    def is_due(self) -> bool:
        self.ticks += 1
        return not self.is_busy and self.ticks % min(_MOST_PATIENT, 2**self.failures) == 0


def _poll_into[Found](
    problem: html.div,
    context: Context,
    look: Callable[[], Found],
    show: Callable[[Found], None],
    every_s: float | None,
    until: Callable[[Found], bool],
) -> None:
    state = _State()

    async def again() -> None:
        if not state.is_due():
            return
        state.is_busy = True
        try:
            found = await context.read(look)
        except CommandError as error:
            state.failures += 1
            problem.clear()
            with problem:
                error_banner(f"{error} What is shown may be out of date.")
            return
        finally:
            state.is_busy = False
        if state.failures:
            state.failures = 0
            problem.clear()
        if not timer.is_deleted:
            show(found)
            if until(found):
                timer.cancel()

    timer = ui.timer(every_s or context.look_s, again, immediate=False)
