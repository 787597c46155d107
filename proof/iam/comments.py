"""The reasons beside the template's policy statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from proof.findings import Finding
from proof.product import Product, syntax

_NAMED = re.compile(r" *(?:- )?&(\w+) (?:!If \[\w+, )?\{Effect: Allow")
_AGAIN = re.compile(r" *(?:- )?\*(\w+)[],}]*")


def check(product: Product) -> Iterator[Finding]:
    """Every statement that allows has a reason above it; one on ``*``, or of all actions, most of all.

    One that is repeated by its name has a reason at each place: it may be granted for another one there.
    """
    lines = product.template.splitlines()
    yield from _repeated(lines)
    for resource, node in _resources(syntax(product.template)):
        if not _is_role(product, resource):
            continue
        for statement in _statements(node):
            if _text(statement.get("Effect")) != "Allow" or "Principal" in statement:
                continue
            line = statement["Effect"].start_mark.line
            has_reason = lines[line - 1].strip().startswith("# ")
            wide = [text for name in ("Resource", "Action") for text in _wide(name, statement.get(name))]
            if wide and not has_reason:
                yield Finding(
                    "wildcard",
                    resource,
                    f"line {line + 1} allows {', '.join(wide)} without a reason beside it",
                )
            elif not has_reason:
                yield Finding("reason", resource, f"line {line + 1} allows something without saying why")


def _repeated(lines: list[str]) -> Iterator[Finding]:
    named = {found[1] for line in lines if (found := _NAMED.match(line))}
    for number, line in enumerate(lines):
        again = _AGAIN.fullmatch(line)
        if again and again[1] in named and not lines[number - 1].strip().startswith("# "):
            yield Finding("reason", again[1], f"line {number + 1} allows it again without saying why")


def _is_role(product: Product, resource: str) -> bool:
    kind = product.resources.get(resource, {}).get("Type")
    return kind in (
        "AWS::IAM::Role",
        "AWS::Serverless::Function",
        "AWS::IAM::Policy",
        "AWS::IAM::ManagedPolicy",
    )


def _wide(name: str, node: Any) -> Iterator[str]:
    for text in _texts(node):
        if (name == "Resource" and text == "*") or (name == "Action" and "*" in text):
            yield f"{name} {text}"


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _texts(each)


def _text(node: Any) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _resources(document: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    for name, node in document.value:
        if name.value == "Resources":
            yield from ((each.value, part) for each, part in node.value)


def _statements(node: yaml.Node) -> Iterator[dict[str, yaml.Node]]:
    """Every mapping with an Effect."""
    if isinstance(node, yaml.MappingNode):
        members = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        if "Effect" in members:
            yield members
        for value in members.values():
            yield from _statements(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _statements(each)
