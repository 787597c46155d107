"""The troubleshooting tables speak of every error that a user can meet, and of no other."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.state_machine import MACHINES, ROOT

import wheels
from dropforge.domain import errors
from dropforge_ops.actions.advice import REMEDIES

PAGE = ROOT / "docs" / "troubleshooting.md"
BASES = {"DropforgeError", "RetryableError", "PermanentError", "DataError"}
# Named by a function that ends runs whose execution is gone.
BY_RECONCILIATION = {"ExecutionEnded"}


def named_on_the_page() -> set[str]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {name for line in lines for name in re.findall(r"`([A-Za-z.]+)`", line.split("|")[1])}


def raised_by_the_code() -> set[str]:
    return {
        name
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.DropforgeError)
    } - BASES


def raised_by_the_build() -> set[str]:
    return {each.__name__ for each in wheels.LibraryError.__subclasses__()}


def named_by_the_machines() -> set[str]:
    found: set[str] = set()
    for name in MACHINES:
        text = (ROOT / "statemachine" / f"{name}.asl.json").read_text(encoding="utf-8")
        found |= set(re.findall(r"'Error': '([A-Za-z.]+)'", text))
    return found


def names(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Tuple):
        for each in node.elts:
            yield from names(each)
    elif isinstance(node, ast.Call):
        yield from names(node.func)
    elif isinstance(node, ast.Name | ast.Attribute):
        name = node.id if isinstance(node, ast.Name) else node.attr
        if name.lstrip("_")[:1].isupper():  # no variable, and no function that returns one
            yield name


def test_every_error_has_its_line_and_no_line_is_of_another() -> None:
    known = (
        raised_by_the_code()
        | raised_by_the_build()
        | named_by_the_machines()
        | REMEDIES.keys()
        | BY_RECONCILIATION
    )
    assert named_on_the_page() == known


@pytest.mark.parametrize("path", sorted((ROOT / "training").glob("*.py")), ids=lambda path: path.stem)
def test_what_training_raises_is_on_the_page_or_caught_there(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    raised = {name for node in ast.walk(tree) if isinstance(node, ast.Raise) for name in names(node.exc)}
    everywhere = [ast.parse(each.read_text(encoding="utf-8")) for each in path.parent.glob("*.py")]
    caught = {
        name
        for each in everywhere
        for node in ast.walk(each)
        if isinstance(node, ast.ExceptHandler)
        for name in names(node.type)
    }
    assert raised - caught <= named_on_the_page()
