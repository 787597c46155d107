"""Buttons, and the question that is asked before something is done that others will notice."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import html, ui


async def confirm(
    title: str,
    *,
    action: str,
    tone: str = "primary",
    describe: Callable[[], None] | None = None,
    reason: str | None = None,
    longest_reason: int = 1024,
) -> str | None:
    """Ask before doing. ``describe`` draws what the decision is about; ``tone`` is primary or danger.

    Args:
        reason: the label of a field for the reason, which then has to be given; None asks for none.

    Returns:
        The reason (empty where none was asked for), or None where the person thought better of it.
    """
    with ui.dialog().props("aria-labelledby=confirm-title") as dialog, html.div().classes("dialog"):
        html.h2(title).props("id=confirm-title")
        if describe is not None:
            describe()
        field = None
        if reason is not None:
            field = ui.textarea(reason).props(f"outlined autogrow maxlength={longest_reason} autofocus")
            field.classes("reason")
        with html.div().classes("dialog-actions"):
            button("Cancel", lambda: dialog.submit(None))
            decide = button(action, lambda: dialog.submit((field.value or "").strip() if field else ""), tone)
            if field is not None:
                decide.set_enabled(False)
                field.on_value_change(lambda event: decide.set_enabled(bool((event.value or "").strip())))
    answer: str | None = await dialog
    dialog.delete()
    return answer


def button(
    text: str, on_click: Callable[[], object], tone: str = "plain", *, icon: str | None = None
) -> ui.button:
    """A button. ``tone`` is plain, primary or danger."""
    made = ui.button(text, on_click=on_click, icon=icon, color=None)
    made.props("no-caps unelevated").classes(f"button {tone}")
    return made
