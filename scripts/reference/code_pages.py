"""Pages made from the code and the example events: error classes and event shapes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from scripts.reference.markdown import cell, code, first_sentence, table

from dropforge.domain import errors as error_module

KINDS = frozenset({"DropforgeError", "RetryableError", "PermanentError", "DataError"})
# Longer lists in an example show nothing more.
_LINES = 80


def errors(root: Path) -> str:
    """Every error class, in the order of the code, with what retries do about it."""
    classes = [
        each
        for _, each in inspect.getmembers(error_module, inspect.isclass)
        if issubclass(each, error_module.DropforgeError)
    ]
    order = (root / "core/dropforge/domain/errors.py").read_text(encoding="utf-8")
    classes.sort(key=lambda each: order.index(f"class {each.__name__}("))
    rows = [
        [
            code(each.__name__),
            cell(first_sentence(each.__doc__)),
            "yes" if issubclass(each, error_module.RetryableError) else "no",
            code(each.__mro__[1].__name__),
        ]
        for each in classes
        if each.__name__ not in KINDS
    ]
    return "\n\n".join(
        [
            "# Error classes",
            "The name is what Lambda reports as `errorType` and what the state machines match on; renaming "
            "one is a breaking change. What to do about each stands under "
            "[Troubleshooting](../troubleshooting.md).",
            table(["class", "meaning", "retried", "kind"], rows),
        ]
    )


def events(root: Path) -> str:
    """Every example event with the function that takes it."""
    taken: dict[str, str] = {}
    for app in sorted((root / "functions").glob("*/app.py")):
        for name in re.findall(r"``(events/[a-z_]+\.json)``", app.read_text(encoding="utf-8")):
            taken[name] = app.parent.name
    parts = [
        "# Event shapes",
        "One example for each function, and for everything that starts a run. `functions/<name>/app.py` "
        "takes the event of its name; the others are inputs of the state machines.",
    ]
    for path in sorted((root / "events").glob("*.json")):
        taker = taken.get(f"events/{path.name}")
        said = (
            f"Taken by [`{taker}`](../../functions/{taker}/app.py)." if taker else "Input of a state machine."
        )
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
        if len(lines) > _LINES:
            lines = [*lines[:_LINES], "…"]
        body = "\n".join(lines)
        parts += [
            f"## {path.stem}",
            f"{said} [`{path.name}`](../../events/{path.name})",
            f"```json\n{body}\n```",
        ]
    return "\n\n".join(parts)
