"""Keeps a part of a page up to date."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import html, ui

from dropforge_ops.console.components.feedback import error_banner
from dropforge_ops.console.context import Context
from dropforge_ops.errors import CommandError

# After errors in a row the looks become rarer, up to this factor.
_MOST_PATIENT = 16


async def live[Found](
    context: Context,
    look: Callable[[], Found],
    show: Callable[[Found], None],
    *,
    every_s: float | None = None,
) -> None:
    """Draw a part of the page, and draw it again whenever what it shows has changed.

    ``look`` reads (it runs in a thread); ``show`` draws into an empty part. What ``look`` returns is compared
    with ``==``, so records are the thing to return. Where a later look fails, the last drawing stays and a
    banner says what went wrong until it works again.

    Raises:
        CommandError: the first look failed.
    """
    found = await context.read(look)
    problem = html.div()
    part = html.div().classes("live")
    with part:
        show(found)
    state = _State(found)

    async def again() -> None:
        if state.busy or state.is_skipped():
            return
        state.busy = True
        try:
            now = await context.read(look)
        except CommandError as error:
            state.failures += 1
            problem.clear()
            with problem:
                error_banner(f"{error} What is below may be out of date.")
            return
        finally:
            state.busy = False
        if state.failures:
            state.failures = 0
            problem.clear()
        if now != state.shown:
            state.shown = now
            part.clear()
            with part:
                show(now)

    ui.timer(every_s or context.look_s, again, immediate=False)


class _State[Found]:
    def __init__(self, shown: Found) -> None:
        self.shown = shown
        self.busy = False
        self.failures = 0
        self._tick = 0

    def is_skipped(self) -> bool:
        self._tick += 1
        return self._tick % min(_MOST_PATIENT, 2**self.failures) != 0
