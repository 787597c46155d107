"""Write the state machines that are deployed from their sources, or with ``--check`` say which ones differ.

python -m scripts.state_machines [--check]

``statemachine/NAME.asl.yaml`` is what people edit: what several states say stands once under ``Shared``, and
states name it by YAML's anchors and merge keys. AWS, the template and every tool read ``NAME.asl.json``,
plain JSON that holds all of it written out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
_SHARED = "Shared"
# The order in which a task's fields are written, wherever its source takes them from.
_TASK_FIELDS = (
    "Comment",
    "Type",
    "Resource",
    "Arguments",
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Retry",
    "Catch",
)


class InvalidSource(Exception):
    """A source that is no state machine; the message names the file and says what is wrong."""


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: the second would silently replace the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value!r} stands here twice", key.start_mark)
            seen.add(key.value)
        return node


def source_of(path: str) -> str:
    """The file to edit, of a deployed machine's path.

    >>> source_of("statemachine/training.asl.json")
    'statemachine/training.asl.yaml'
    """
    return path.removesuffix(".json") + ".yaml"


def written(text: str, name: str) -> str:
    """The JSON that a source stands for.

    Args:
        text: the YAML.
        name: the source's name, for messages.

    Raises:
        InvalidSource: it can't be read, or is no mapping with States.
    """
    try:
        definition = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidSource(f"{name}: {error}") from error
    if not isinstance(definition, dict) or not isinstance(definition.get("States"), dict):
        raise InvalidSource(f"{name}: is no state machine: it has no States.")
    definition.pop(_SHARED, None)
    return json.dumps(_ordered(definition), indent=2, ensure_ascii=False) + "\n"


def _ordered(value: Any) -> Any:
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if not isinstance(value, dict):
        return value
    first = [name for name in _TASK_FIELDS if name in value] if value.get("Type") == "Task" else []
    return {name: _ordered(value[name]) for name in dict.fromkeys([*first, *value])}


def difference(source: str, expected: str, found: str | None) -> str:
    """What to say of a deployed machine that isn't what its source stands for; nothing where it is."""
    if found == expected:
        return ""
    if found is None:
        return f"{source} has not been written out: run 'make machines'."
    states = _states(expected)
    there = _states(found)
    differing = [name for name in {**states, **there} if states.get(name) != there.get(name)]
    where = f" in {', '.join(differing)}" if differing else ""
    return (
        f"{source} and what is deployed of it differ{where}. Edit {source}, then run 'make machines', "
        "which writes the .asl.json beside it anew."
    )


def _states(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found.get("States", {}) if isinstance(found, dict) else {}


def main(arguments: list[str], root: Path = ROOT) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    folder = root / "statemachine"
    problems = []
    for source in sorted(folder.glob("*.asl.yaml")):
        name = str(source.relative_to(root))
        deployed = source.with_suffix(".json")
        try:
            expected = written(source.read_text(encoding="utf-8"), name)
        except InvalidSource as error:
            problems.append(str(error))
            continue
        if not arguments:
            deployed.write_text(expected, encoding="utf-8")
            continue
        found = deployed.read_text(encoding="utf-8") if deployed.exists() else None
        problems += filter(None, [difference(name, expected, found)])
    for deployed in sorted(folder.glob("*.asl.json")):
        if not deployed.with_suffix(".yaml").exists():
            problems.append(f"{deployed.relative_to(root)} has no source: write it as .asl.yaml.")
    print(*problems, sep="\n" if problems else "", end="\n" if problems else "", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
