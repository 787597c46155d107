"""The call by which an application asks for the row that is in the form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import html

from dropforge_ops.actions.api_calls import KEY_VARIABLE, ApiAddress, api_address, calls
from dropforge_ops.console.context import Context

_NAMES: Final = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}
_PROOF: Final = {
    "api-key": f"The key is read from {KEY_VARIABLE}; 'dropforge api --key' prints it.",
    "iam": "The caller signs with AWS credentials of its own.",
    "cognito": "The caller holds an ID token of a user of the pool.",
}


class SameCall:
    """A card with a program for each language; ``show`` changes the row that they ask for."""

    def __init__(self, address: ApiAddress) -> None:
        self._address = address
        with html.section().classes("card"):
            html.h2("The same call")
            html.p(f"{address.url}/predict. {_PROOF[address.auth]}").classes("dim")
            self._programs = {name: _draw_fold(title) for name, title in _NAMES.items()}

    def show(self, instance: Mapping[str, Any]) -> None:
        """Let the programs ask for this row."""
        for name, program in calls(self._address, instance).items():
            self._programs[name].clear()
            with self._programs[name]:
                shown = html.pre(program).props("tabindex=0")
                shown.props["aria-label"] = f"Call in {_NAMES[name]}"


async def draw_call(context: Context) -> SameCall:
    """The card, for the stack's API."""
    return SameCall(await context.read(api_address, context.target))


def _draw_fold(title: str) -> html.div:
    with html.details().classes("fold"):
        html.summary(title)
        return html.div()
