"""Reads CloudFormation templates: YAML with the short intrinsic tags, into the long JSON form.

Aliases and merges are written out, as ``sam build`` and ``aws cloudformation package`` do: CloudFormation
takes neither.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dropforge_local.errors import InvalidTemplate

try:  # libyaml is ten times as fast; PyYAML can be built without it
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

# Tags whose long form has no "Fn::" in front.
_PLAIN = frozenset({"Ref", "Condition"})


class _TemplateLoader(_SafeLoader):
    """SafeLoader that keeps dates as text: a policy's ``Version`` is a string to CloudFormation."""


_TemplateLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {suffix if suffix in _PLAIN else f"Fn::{suffix}": value}


_TemplateLoader.add_multi_constructor("!", _intrinsic)


def load_template(path: Path) -> dict[str, Any]:
    """The template at ``path`` with every intrinsic function in its long form.

    Raises:
        InvalidTemplate: the file is missing, is no YAML, or has no ``Resources``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidTemplate(f"{path}: the template can't be read ({error.strerror}).") from error
    return parse_template(text, str(path))


def parse_template(text: str, name: str = "template") -> dict[str, Any]:
    """The template in ``text`` with every intrinsic function in its long form; ``name`` is for messages.

    Raises:
        InvalidTemplate: the text is no YAML, or has no ``Resources``.
    """
    try:
        document = pickle.loads(_parsed(text))  # noqa: S301 - our own, just made
    except yaml.YAMLError as error:
        raise InvalidTemplate(f"{name}: not valid YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise InvalidTemplate(f"{name}: the template has no Resources section.")
    return document


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> bytes:
    """The document, packed: unpacking one for each caller takes a twentieth of the time of parsing."""
    return pickle.dumps(_written_out(yaml.load(text, Loader=_TemplateLoader)))  # noqa: S506 - a SafeLoader


def _written_out(value: Any) -> Any:
    """A copy in which an alias is a part of its own: who changes one resource changes no other."""
    if isinstance(value, dict):
        return {name: _written_out(each) for name, each in value.items()}
    return [_written_out(each) for each in value] if isinstance(value, list) else value


def resource_property(template: Mapping[str, Any], logical_id: str, name: str) -> Any:
    """A serverless resource's property, or what ``Globals`` gives its type; None where neither does."""
    resource = template["Resources"][logical_id]
    properties = resource.get("Properties") or {}
    if name in properties:
        return properties[name]
    kind = str(resource.get("Type", "")).rpartition("::")[2]
    return ((template.get("Globals") or {}).get(kind) or {}).get(name)
