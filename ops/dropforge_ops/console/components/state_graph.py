"""A state machine as a graph whose states are coloured as they happen, without being laid out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nicegui import ui
from nicegui.element import Element

from dropforge_ops.console.reading.run_view import MachineView, Progress, StateProgress
from dropforge_ops.render import duration

# Mermaid's module is registered with NiceGUI's own element.
_MERMAID = ui.mermaid

_TONES: Final[Mapping[Progress, str]] = {
    Progress.NOW: "run",
    Progress.WAITING: "warn",
    Progress.DONE: "ok",
    Progress.WENT_ON: "went-on",
    Progress.CAUGHT: "caught",
    Progress.FAILED: "bad",
}


class StateGraphView(Element, component="state_graph.js"):
    """Draws a machine. A click, Enter or Space on a state calls ``on_select`` with its name."""

    def __init__(
        self, machine: MachineView, *, with_errors: bool, on_select: Callable[[str], object]
    ) -> None:
        super().__init__()
        self._with_errors = with_errors
        self._names: list[str] = []
        self.show(machine, None)
        self.on("select", lambda event: on_select(self._names[int(event.args)]))

    def show(self, machine: MachineView, selected: str | None) -> None:
        """Show how its states stand now; the graph itself is drawn again only where there is more of it."""
        drawn = machine.graph.worth_drawing(machine.visited, with_errors=self._with_errors)
        self._names = list(drawn.states)
        number = {name: index for index, name in enumerate(self._names)}
        self._set("content", drawn.to_mermaid())
        self._set("label", f"{machine.title} state machine")
        self._set(
            "states",
            {
                str(number[name]): {"tone": _TONES.get(each.progress, ""), "words": words(each)}
                for name, each in machine.states.items()
                if name in number
            },
        )
        self._set("names", self._names)
        self._set(
            "taken", [f"s{number[a]}_s{number[b]}" for a, b in machine.steps if a in number and b in number]
        )
        self._set("selected", number.get(selected or "", -1))

    def _set(self, name: str, value: object) -> None:
        if self._props.get(name) != value:
            self._props[name] = value
            self.update()


def words(state: StateProgress) -> str:
    """How a state stands, in words: ``done, 3.2 s, 2 failed attempts``."""
    parts = [str(state.progress)]
    if state.seconds is not None:
        parts.append(duration(state.seconds))
    if state.stays > 1:
        parts.append(f"{state.stays} times")
    if state.errors:
        parts.append(f"{state.errors} failed attempt{'s' if state.errors > 1 else ''}")
    return ", ".join(parts)
