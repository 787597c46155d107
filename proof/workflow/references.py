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
            elif name == "Fn::Sub":
                text, own = each if isinstance(each, list) else (each, {})
                names = {found.partition(".")[0] for found in re.findall(r"\$\{([\w:.]+)\}", text)}
                yield from names - own.keys()
                yield from referred(own)
            else:
                yield from referred(each)
    elif isinstance(value, list):
        for each in value:
            yield from referred(each)


def check_parameters(product: Product) -> Iterator[Finding]:
    """Every parameter is used, and shown in a group; cfn-lint's W2001 is silent under the SAM transform."""
    document = product.document
    declared, conditions = document.get("Parameters", {}), document.get("Conditions", {})
    parts = [document.get(part, {}) for part in ("Resources", "Outputs", "Globals", "Rules")]
    waiting, reached = list(_conditions_in(parts)), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _conditions_in(conditions.get(name, {}))
    used = set(referred([*parts, *(conditions.get(name, {}) for name in reached)]))
    for name in declared.keys() - used:
        yield Finding("parameter", name, "is a parameter that nothing uses; use it or remove it")
    for name in conditions.keys() - reached:
        yield Finding("parameter", name, "is a condition that nothing depends on; use it or remove it")
    interface = document.get("Metadata", {}).get("AWS::CloudFormation::Interface", {})
    grouped = {name for group in interface.get("ParameterGroups", []) for name in group["Parameters"]}
    for name in declared.keys() - grouped:
        yield Finding("parameter", name, "is in no group of the template's ParameterGroups; add it to one")
    for name in grouped - declared.keys():
        yield Finding("parameter", name, "is in a group of ParameterGroups, and no parameter")


def _conditions_in(value: Any) -> Iterator[str]:
    """Every condition that resources, intrinsics or other conditions name."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "Fn::If":
                yield each[0]
                yield from _conditions_in(each[1:])
            elif name == "Condition" and isinstance(each, str):
                yield each
            else:
                yield from _conditions_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _conditions_in(each)


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
        logging = machine.properties.get("LoggingConfiguration", {})
        if not logging.get("Destinations") or logging.get("Level", "OFF") == "OFF":
            yield Finding("log", machine.logical_id, "logs nothing")
