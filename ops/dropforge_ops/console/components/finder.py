"""Looks for words and a state in a list; what is looked for stands in the address, so that it can be kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlencode

from nicegui import html, ui

from dropforge_ops.console.reading.finding import Wanted


class Finder:
    """A field for words and a choice of states above a list.

    Args:
        label: what the list has, for those who hear the page.
        states: those that can be chosen, as records have them.
        on_change: called with what is wanted now.
    """

    def __init__(
        self, path: str, label: str, states: Iterable[str], on_change: Callable[[], Awaitable[None]]
    ) -> None:
        self._path, self._on_change = path, on_change
        known = {"": "any state", **{each: each.replace("_", " ") for each in states}}
        request = ui.context.client.request
        asked = {} if request is None else request.query_params
        state = asked.get("state", "")
        self.wanted = Wanted(asked.get("find", ""), state if state in known else "")
        with html.div().classes("finder").props("role=search") as self.element:
            self._text = ui.input(value=self.wanted.text, placeholder=f"Find {label}", on_change=self._change)
            self._text.props(f'outlined dense clearable debounce=250 aria-label="Find {label}"')
            self._state = ui.select(known, value=self.wanted.state, on_change=self._change)
            self._state.props('outlined dense options-dense aria-label="State"')
            self._said = ui.label().classes("dim").props("role=status")

    def say(self, text: str) -> None:
        """Say beside the field what was found."""
        self._said.set_text(text)

    async def _change(self) -> None:
        self.wanted = Wanted(self._text.value or "", self._state.value or "")
        asked = {"find": self.wanted.text, "state": self.wanted.state}
        query = urlencode({name: value for name, value in asked.items() if value})
        ui.navigate.history.replace(f"{self._path}?{query}" if query else self._path)
        await self._on_change()
