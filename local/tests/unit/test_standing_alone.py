"""Package, example and tests need what the package declares, and nothing of the product beside them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve()
LOCAL = HERE.parents[2]
FILES = [path for path in sorted(LOCAL.rglob("*.py")) if not {".dropforge", ".venv"} & set(path.parts)]
# What a test project's functions find in their layer, or don't find.
PLANTED = {"probe_layer", "a_module_that_nobody_has"}
EXTRAS = "host,scikit-learn,test"


def imported(path: Path) -> Iterator[str]:
    """The top-level names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def named(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed_with(asked: Requirement, found: set[str]) -> set[str]:
    """The distribution and all that it brings."""
    found.add(named(asked.name))
    for each in map(Requirement, requires(asked.name) or []):
        wanted = each.marker is None or any(each.marker.evaluate({"extra": x}) for x in (*asked.extras, ""))
        if wanted and named(each.name) not in found:
            installed_with(each, found)
    return found


def test_every_import_is_declared() -> None:
    declared = installed_with(Requirement(f"dropforge-local[{EXTRAS}]"), set())
    distributions = packages_distributions()
    foreign = set()
    for path in FILES:
        beside = {"dropforge_local", *(each.stem for each in path.parent.iterdir())}
        for name in set(imported(path)) - sys.stdlib_module_names - beside - PLANTED:
            if not declared & set(map(named, distributions.get(name, []))):
                foreign.add(f"{path.relative_to(LOCAL)}: {name}")
    assert foreign == set()
