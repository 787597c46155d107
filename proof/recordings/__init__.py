"""What the machines were given and what their tasks answered: recorded, normalised, and read by the checks.

``make record`` makes the files of this folder anew, from the workflow tests (``host``) and, for what these do
not reach, from the walks of the contract tests (``walk``).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proof.product import states_of

FOLDER = Path(__file__).parent
HOST, WALK = "host", "walk"
_LITERAL = re.compile(r"'([^']*)'")
# Not a run of digits alone, which is an account.
_DIGEST = re.compile(r"(?<![0-9a-f])(?=[0-9]*[a-f])[0-9a-f]{12,}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


@dataclass(frozen=True)
class Entry:
    """Something recorded, and whether the host or a walk gave it."""

    by: str
    value: Any


@dataclass(frozen=True)
class Recording:
    """What is known of one machine.

    Args:
        inputs: by state, inputs to begin with: the first state's are the executions'.
        results: by Task or Map state, what its call answered.
        errors: by state, the ``Error`` and ``Cause`` that it ended with.
    """

    inputs: Mapping[str, list[Entry]]
    results: Mapping[str, list[Entry]]
    errors: Mapping[str, list[Entry]]

    @classmethod
    def load(cls, machine: str) -> Recording:
        """The recording in this folder; an empty one where there is none yet."""
        return _loaded(machine)

    def save(self, machine: str) -> None:
        """Put the recording into this folder."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (FOLDER / f"{machine}.json").write_text(text + "\n")
        _loaded.cache_clear()


@functools.cache
def _loaded(machine: str) -> Recording:
    path = FOLDER / f"{machine}.json"
    document = json.loads(path.read_text()) if path.is_file() else {}
    return Recording(
        *(
            {state: [Entry(**each) for each in entries] for state, entries in document.get(name, {}).items()}
            for name in ("inputs", "results", "errors")
        )
    )


def words_of(definition: Mapping[str, Any]) -> frozenset[str]:
    """The texts that a machine's Choice states compare with; any other text is as good as another."""
    conditions = [
        choice["Condition"]
        for _, state in states_of(definition)
        if state["Type"] == "Choice"
        for choice in state["Choices"]
    ]
    return frozenset(word for condition in conditions for word in _LITERAL.findall(condition))


def shape(value: Any, words: frozenset[str]) -> Any:
    """What is alike in values that a machine treats alike: names, types, and the words that it knows."""
    if isinstance(value, dict):
        return tuple((name, shape(each, words)) for name, each in sorted(value.items()))
    if isinstance(value, list):
        return ("list", *sorted({repr(shape(each, words)) for each in value}))
    if isinstance(value, str):
        return value if value in words else ("text", bool(value))
    if isinstance(value, bool) or value is None:
        return value
    return "number"


def facts(value: Any, words: frozenset[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """What there is to know of a value, member by member: where, and what is alike as in `shape`."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from facts(each, words, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for each in value:
            yield from facts(each, words, f"{path}[]")
    else:
        yield path, shape(value, words)


def _order(entry: Entry) -> tuple[bool, str]:
    return entry.by != HOST, json.dumps(entry.value, sort_keys=True)


def distinct(entries: Iterable[Entry], most: int, words: frozenset[str]) -> list[Entry]:
    """One entry of each shape, the host's first, at most so many; the same in whatever order tests ran.

    Those that tell something new of a member come first and are kept in any case: which shapes there are
    beside them depends on how quickly the tests ran.
    """
    found: dict[Any, Entry] = {}
    for entry in sorted(entries, key=_order):
        found.setdefault(shape(entry.value, words), entry)
    told: set[tuple[str, Any]] = set()
    new, others = list[Entry](), list[Entry]()
    for entry in found.values():
        tells = set(facts(entry.value, words))
        (others if tells <= told else new).append(entry)
        told |= tells
    return new + others[: max(0, most - len(new))]


def distinct_errors(entries: Iterable[Entry], most: int) -> list[Entry]:
    """One entry of each error and beginning of its cause, for Choice states look into causes."""
    found: dict[Any, Entry] = {}
    for entry in sorted(entries, key=_order):
        words = re.findall(r"[A-Za-z]+", str(entry.value.get("Cause")))[:8]
        found.setdefault((entry.value["Error"], *words), entry)
    return list(found.values())[:most]


def normalised(value: Any) -> Any:
    """The value without what differs from run to run: digests, times, long fractions."""
    if isinstance(value, dict):
        return {normalised(name): normalised(each) for name, each in value.items()}
    if isinstance(value, list):
        return [normalised(each) for each in value]
    if isinstance(value, str):
        text = _DIGEST.sub(lambda match: ("0123456789abcdef" * 8)[: len(match[0])], value)
        return _TIME.sub("2026-11-21T09:00:00.000Z", text)
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, int) and value > 1_000_000_000:
        return 1_795_251_600_000
    return value
