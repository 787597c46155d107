"""What stands where there is nothing to show, or where something went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import html, ui


def empty_state(title: str, hint: str, *, icon: str = "inbox", commands: Sequence[str] = ()) -> None:
    """Say that there is nothing yet, and what to do; ``commands`` are for the terminal."""
    with html.div().classes("empty"):
        ui.icon(icon).props("aria-hidden=true").classes("empty-icon")
        html.p(title).classes("empty-title")
        html.p(hint).classes("empty-hint")
        for command in commands:
            html.code(command).classes("command")


def error_banner(message: str) -> html.div:
    """Say what went wrong; read out at once by a screen reader."""
    with html.div().classes("banner bad").props("role=alert") as banner:
        ui.icon("error_outline").props("aria-hidden=true")
        html.span(message)
    return banner


def notice(message: str, *, tone: str = "info") -> html.div:
    """Say something worth knowing. ``tone`` is info, ok, warn or bad."""
    with html.div().classes(f"banner {tone}").props("role=status") as banner:
        ui.icon("info_outline").props("aria-hidden=true")
        html.span(message)
    return banner
