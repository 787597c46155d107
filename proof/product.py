"""What is examined, as texts in memory: the template, the state machines, and what they refer to."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from scripts.state_machines import source_of

from dropforge_local.template import parse_template

ROOT = Path(__file__).resolve().parent.parent
_SUBSTITUTION = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Product:
    """One state of the product.

    Args:
        template: the text of template.yaml.
        definitions: the JSON that is deployed of each state machine, by the path of its source from the root.
        events: the example events by name, without ``.json``.
        handlers: each function's folder, with the text of its ``app.py``.
        references: the texts in which an example event may be named.
        requirements: what each layer's folder installs, as lines of a requirements file.
        troubleshooting: the page that tells what to do about each error.
    """

    template: str
    definitions: Mapping[str, str]
    events: Mapping[str, str]
    handlers: Mapping[str, str]
    references: str
    requirements: Mapping[str, str]
    troubleshooting: str

    @classmethod
    def load(cls, root: Path = ROOT) -> Product:
        """The product in a folder."""
        handlers = {path.parent.name: path.read_text() for path in sorted(root.glob("functions/*/app.py"))}
        named_in = [*handlers.values(), *(path.read_text() for path in sorted(root.glob("tests/**/*.py")))]
        return cls(
            template=(root / "template.yaml").read_text(),
            definitions={
                source_of(str(path.relative_to(root))): path.read_text()
                for path in sorted(root.glob("statemachine/*.asl.json"))
            },
            events={path.stem: path.read_text() for path in sorted(root.glob("events/*.json"))},
            handlers=handlers,
            references="\n".join(named_in),
            troubleshooting=(root / "docs" / "troubleshooting.md").read_text(),
            requirements={
                str(path.parent.relative_to(root)): path.read_text()
                # Not training's, whose layer carries wheels as they are; wheels.py holds these to a limit.
                for path in sorted(
                    [root / "core" / "requirements.txt", *root.glob("layers/*/requirements.txt")]
                )
            },
        )

    def with_template(self, old: str, new: str) -> Product:
        """A copy with the first ``old`` of the template replaced; it has to be there."""
        return dataclasses.replace(self, template=_replaced(self.template, old, new))

    def with_definition(self, path: str, old: str, new: str) -> Product:
        """A copy with the first ``old`` of one state machine replaced; it has to be there."""
        text = _replaced(self.definitions[path], old, new)
        return dataclasses.replace(self, definitions={**self.definitions, path: text})

    # --- the template --------------------------------------------------------------------------------

    @property
    def document(self) -> dict[str, Any]:
        """The template with long intrinsics."""
        return _parsed(self.template)

    @property
    def resources(self) -> Mapping[str, dict[str, Any]]:
        """The template's resources."""
        found: dict[str, dict[str, Any]] = self.document["Resources"]
        return found

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a type, by logical id."""
        return {
            name: each.get("Properties", {}) for name, each in self.resources.items() if each["Type"] == kind
        }

    def functions(self) -> dict[str, dict[str, Any]]:
        """The properties of every function, by logical id."""
        return self.of_type("AWS::Serverless::Function")

    # --- state machines ------------------------------------------------------------------------------

    def machines(self) -> Iterator[Machine]:
        """Every state machine of the template."""
        for name, properties in self.of_type("AWS::StepFunctions::StateMachine").items():
            path = source_of(properties["DefinitionS3Location"])
            yield Machine(
                name, path, self.definitions[path], properties.get("DefinitionSubstitutions", {}), properties
            )


@dataclass(frozen=True)
class Machine:
    """A state machine: its logical id, its source's path, the JSON deployed of it, the template's part."""

    logical_id: str
    path: str
    text: str
    given: Mapping[str, Any]
    properties: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``training`` of ``statemachine/training.asl.yaml``."""
        return Path(self.path).name.removesuffix(".asl.yaml")

    def definition(self) -> dict[str, Any]:
        """The definition with its ``${Substitutions}`` as they are."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    def used(self) -> set[str]:
        """The names of the substitutions in the text."""
        return set(_SUBSTITUTION.findall(self.text))

    def substituted(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The definition with these values; a missing one raises KeyError."""
        found: dict[str, Any] = json.loads(_SUBSTITUTION.sub(lambda match: values[match[1]], self.text))
        return found


def states_of(definition: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, state) of every state; one within a Map or Parallel state is called ``Outer.Inner``."""
    for name, state in definition.get("States", {}).items():
        yield f"{inside}{name}", state
        for inner in inner_machines(state):
            yield from states_of(inner, f"{inside}{name}.")


def inner_machines(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The definitions that a Map or Parallel state holds."""
    return [each for each in (state.get("ItemProcessor"), *state.get("Branches", [])) if each]


def expressions_of(value: Any) -> Iterator[str]:
    """Every JSONata expression in a state, without the braces of states inside it."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in ("ItemProcessor", "Branches"):
                yield from expressions_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions_of(each)
    elif is_expression(value):
        yield value


def is_expression(value: Any) -> bool:
    """Whether a field's value is computed by JSONata."""
    return isinstance(value, str) and value.startswith("{%")


@functools.lru_cache(maxsize=4)
def _parsed(template: str) -> dict[str, Any]:
    return parse_template(template)


@functools.lru_cache(maxsize=4)
def syntax(template: str) -> yaml.Node:
    """The template's YAML with line numbers."""
    return cast("yaml.Node", yaml.compose(template, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"There is no {old!r} to replace.")
    return text.replace(old, new, 1)
