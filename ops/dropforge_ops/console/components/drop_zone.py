"""Where files are dropped, and what becomes of them until they have a run."""

from __future__ import annotations

from urllib.parse import quote

from nicegui import html, ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from dropforge_ops.actions.drops import Coverage, Upload
from dropforge_ops.console import dropping
from dropforge_ops.console.components.feedback import error_banner, notice
from dropforge_ops.console.components.live import Part
from dropforge_ops.console.components.text import link
from dropforge_ops.console.context import Context
from dropforge_ops.errors import CommandError, OperationFailed

# An execution that fails before it records a run is rare; not every look need search for one.
_LOOKS_PER_SEARCH = 5


class _Zone(Element, component="drop_zone.js"):
    def __init__(self, *, apart: bool) -> None:
        super().__init__()
        self._props.update(url=dropping.PATH, largest=dropping.LARGEST_BYTES, apart=apart)


def drop_zone(context: Context, *, apart: bool = False) -> None:
    """A place to drop files, which takes them from the whole window.

    Once all of them are covered by one run, the browser goes to that run. One that stands ``apart`` is seen
    only where files come; a page has one or the other.
    """
    zone = _Zone(apart=apart)
    zone.props["aria-label"] = "Drop files"
    following = html.div().classes("live").props("aria-live=polite")

    def follow(event: GenericEventArguments) -> None:
        taken = [context.drops.take(receipt) for receipt in event.args]
        uploads = [each for each in taken if each is not None]
        if uploads:
            with following:
                _Following(context, uploads)

    zone.on("uploaded", follow)


class _Following:
    """Looks for the runs of some uploads until each has one."""

    def __init__(self, context: Context, uploads: list[Upload]) -> None:
        self._context = context
        target = context.target
        self._coverage = Coverage(
            uploads,
            context.ledger,
            context.documents,
            target.client("stepfunctions"),
            target.outputs["TrainingStateMachine"],
        )
        self._looks = 0
        self._part: Part[tuple[str, tuple[str, ...]]] = Part(_draw)
        self._part.show(("Looking for the run that covers it …", ()))
        self._is_busy = False
        self._timer = ui.timer(context.look_s, self._again, immediate=True)

    async def _again(self) -> None:
        if self._is_busy:
            return
        self._is_busy = True
        try:
            runs = await self._context.read(self._look)
        except CommandError as error:
            self._timer.cancel()
            error_banner(str(error))
            return
        finally:
            self._is_busy = False
        missing = self._coverage.what_is_missing() if self._coverage.missing else ""
        self._part.show((missing, runs))
        if not missing:
            self._timer.cancel()
            if len(runs) == 1:
                ui.navigate.to(_address(runs[0]))

    def _look(self) -> tuple[str, ...]:
        self._coverage.look()
        self._looks += 1
        if self._looks % _LOOKS_PER_SEARCH == 0:
            broken = self._coverage.broken_start()
            if broken is not None:
                arn, error, cause = broken
                raise OperationFailed(
                    f"The execution {arn} that the drop started failed before it could record a run: "
                    f"{error}: {cause}"
                )
        return tuple(dict.fromkeys(run.run_id for run in self._coverage.found.values()))


def _draw(shown: tuple[str, tuple[str, ...]]) -> None:
    missing, runs = shown
    if missing:
        notice(missing)
    for run_id in runs:
        with html.p():
            link(f"Follow run {run_id}", _address(run_id))


def _address(run_id: str) -> str:
    return f"/runs/{quote(run_id)}"
