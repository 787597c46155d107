"""What template, machines, handlers and example events call each other: all there, nothing left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from proof.findings import Finding
from proof.product import Machine, Product

_FOLDER = re.compile(r"functions/(\w+)/?")
_NAMED_EVENT = re.compile(r"events/(\w+)\.json")


def check_substitutions(product: Product) -> Iterator[Finding]:
    """What a definition substitutes is given, what is given is used, a function's name is a function's."""
    functions = product.functions()
    for machine in product.machines():
        used, given = machine.used(), set(machine.given)
        for name in used - given:
            yield Finding(
                "substitution", machine.path, f"uses ${{{name}}}, which {machine.logical_id} does not give"
            )
        for name in given - used:
            yield Finding(
                "substitution", machine.logical_id, f"gives {name}, which {machine.path} does not use"
            )
        for name in given:
            if name.endswith("Function") and name not in functions:
                yield Finding("substitution", machine.logical_id, f"{name} is no function of the template")
        yield from _targets(product, machine)
    defined = {machine.path for machine in product.machines()}
    for path in product.definitions.keys() - defined:
        yield Finding("substitution", path, "no state machine of the template has this definition")


def _targets(product: Product, machine: Machine) -> Iterator[Finding]:
    """A reference in DefinitionSubstitutions names a parameter or a resource that is there."""
    known = product.resources.keys() | product.document.get("Parameters", {}).keys()
    for name, value in machine.given.items():
        for target in referred(value):
            if target not in known and not target.startswith("AWS::"):
                yield Finding(
                    "substitution", machine.logical_id, f"{name} refers to {target}, which is not there"
                )


def referred(value: Any) -> Iterator[str]:
    """Every logical id that an intrinsic in the value names."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "Ref":
                yield each
            elif name == "Fn::GetAtt":
                yield each[0]
            elif name == "Fn::Sub" and isinstance(each, str):
                yield from (found.partition(".")[0] for found in re.findall(r"\$\{([\w:.]+)\}", each))
            else:
                yield from referred(each)
    elif isinstance(value, list):
        for each in value:
            yield from referred(each)


def check_handlers(product: Product) -> Iterator[Finding]:
    """Every function has a folder with its handler, every folder its function, named after each other."""
    folders = {}
    for name, properties in product.functions().items():
        match = _FOLDER.fullmatch(properties["CodeUri"])
        folder = match[1] if match else properties["CodeUri"]
        folders[folder] = name
        if folder not in product.handlers:
            yield Finding("handler", name, f"there is no functions/{folder}/app.py")
            continue
        expected = "".join(part.title() for part in folder.split("_")) + "Function"
        if name != expected:
            yield Finding(
                "handler", name, f"has the code of functions/{folder}, so its name would be {expected}"
            )
        module, _, function = _handler(product, properties).partition(".")
        if module != "app" or function not in _functions_in(product.handlers[folder]):
            yield Finding("handler", name, f"functions/{folder}/app.py has no {function}")
    for folder in product.handlers.keys() - folders.keys():
        yield Finding("handler", f"functions/{folder}", "no function of the template has this code")


def _handler(product: Product, properties: Mapping[str, Any]) -> str:
    default = product.document.get("Globals", {}).get("Function", {}).get("Handler", "")
    return str(properties.get("Handler", default))


def _functions_in(source: str) -> set[str]:
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def check_events(product: Product) -> Iterator[Finding]:
    """Every handler names an example event that is there; a handler or a test names every example event."""
    for folder, source in product.handlers.items():
        named = _NAMED_EVENT.findall(source)
        if not named:
            yield Finding("event", f"functions/{folder}/app.py", "names no example event")
        for name in named:
            if name not in product.events:
                yield Finding(
                    "event", f"functions/{folder}/app.py", f"names events/{name}.json, which is not there"
                )
    for name in product.events:
        if f"events/{name}.json" not in product.references and f'"{name}"' not in product.references:
            yield Finding("event", f"events/{name}.json", "no handler and no test names it")


def check_logs(product: Product) -> Iterator[Finding]:
    """Every function and machine logs to a group of the template, whose lines expire."""
    groups = product.of_type("AWS::Logs::LogGroup")
    for name, properties in product.functions().items():
        group = properties.get("LoggingConfig", {}).get("LogGroup", {})
        expected = group.get("Ref") if isinstance(group, dict) else None
        if expected not in groups:
            yield Finding(
                "log", name, "logs to no log group of the template, so its lines would never expire"
            )
        elif expected != f"{name}Log":
            yield Finding("log", name, f"shares the log group {expected}; {name}Log would be its own")
    for name, properties in groups.items():
        if not properties.get("RetentionInDays"):
            yield Finding("log", name, "has no RetentionInDays")
    for machine in product.machines():
        logging = machine.properties.get("Logging", {})
        if not logging.get("Destinations") or logging.get("Level", "OFF") == "OFF":
            yield Finding("log", machine.logical_id, "logs nothing")
