"""Makes proof/recordings anew: runs the workflow tests and the contract tests' walks, keeps what they did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proof.iam.intrinsics import ACCOUNT
from proof.iam.recorded import Call, save_calls
from proof.iam.roles import roles_of, values_of
from proof.product import ROOT, Product, states_of
from proof.recordings import HOST, WALK, Entry, Recording, distinct, distinct_errors, normalised, words_of

VARIABLE = "DROPFORGE_RECORDINGS"
_SUITES = ("tests/contract", "tests/workflow")
_ADDING_GRANTS = ("BatchSource", "MlflowTracking", "PredictionQueue", "PredictionStream")
"""Parameters with which functions may do more: declared.yaml says what for.

Of stacks that have them no calls are recorded.
"""
_MOST_INPUTS, _MOST_RESULTS, _MOST_ERRORS = 12, 12, 12
Entries = dict[str, dict[str, list[Entry]]]


class Observed:
    """What walks were given, kept for a recording where one is being made."""

    def __init__(self) -> None:
        self._walked: list[tuple[str, str, str, Any]] = []

    def add(self, machine: str, kind: str, state: str, value: Any) -> None:
        """Keep an input, a result or an error of a state."""
        if VARIABLE in os.environ:
            self._walked.append((machine, kind, state, value))

    def save(self) -> None:
        """Write what was kept into the folder that the variable names."""
        if self._walked:
            keep({"walked": self._walked})


def keep(document: Mapping[str, Any]) -> None:
    """Write a document of a test process into the folder that the variable names; without it do nothing."""
    if VARIABLE in os.environ:
        path = Path(os.environ[VARIABLE])
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path, suffix=".json", delete=False) as file:
            json.dump(document, file)


def record(folder: Path | None = None) -> int:
    """Run the tests (or read what a run of theirs left in ``folder``) and write the recordings."""
    if folder is not None:
        return _write(folder)
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", *_SUITES]
        ended = subprocess.run(command, cwd=ROOT, env={**os.environ, VARIABLE: made}, check=False)
        if ended.returncode:
            print("The tests failed; the recordings stay as they were.", file=sys.stderr)
            return ended.returncode
        return _write(Path(made))


def _write(folder: Path) -> int:
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    product = Product.load()
    machines: dict[str, Entries] = defaultdict(
        lambda: {"inputs": defaultdict(list), "results": defaultdict(list), "errors": defaultdict(list)}
    )
    for document in documents:
        for machine, kind, state, value in document.get("walked", []):
            machines[machine][kind][state].append(Entry(WALK, normalised(value)))
        names = _Names(document.get("stacks", {}), product)
        for execution in document.get("executions", []):
            _read_execution(execution, machines, names)
    for machine in product.machines():
        kinds = machines[machine.name]
        definition = machine.definition()
        words = words_of(definition)
        Recording(
            {state: distinct(each, _MOST_INPUTS, words) for state, each in kinds["inputs"].items()},
            {state: distinct(each, _MOST_RESULTS, words) for state, each in kinds["results"].items()},
            {state: distinct_errors(each, _MOST_ERRORS) for state, each in kinds["errors"].items()},
        ).save(machine.name)
        print(f"{machine.path}: {len(definition['States'])} states, {len(kinds['results'])} with results")
    calls = {call for document in documents for call in _calls(document, product)}
    save_calls(calls)
    print(f"{len(calls)} calls of functions")
    return 0


def _read_execution(execution: Mapping[str, Any], machines: Mapping[str, Entries], names: _Names) -> None:
    """What one execution's history says of its start, and of each of its tasks' last attempts."""
    name, _, label = execution["arn"].split(":")[6].partition("/")
    kinds = machines[name.rpartition("-")[2]]
    inside = names.map_state(label)
    state, answer, first = "", None, True
    for event in execution["events"]:
        kind = event["type"]
        if kind.endswith("StateEntered"):
            state, answer = event["name"], None
            if first:
                entered = _plain(event["input"], names)
                kinds["inputs"][f"{inside}.{state}" if inside else state].append(Entry(HOST, entered))
            first = False
        elif kind == "TaskSucceeded":
            answer = ("results", _plain(event["output"], names))
        elif kind in ("TaskFailed", "TaskTimedOut", "TaskSubmitFailed"):
            cause = names.deployed(_without_trace(event.get("cause", "")))
            answer = ("errors", normalised({"Error": event.get("error", ""), "Cause": cause}))
        elif kind.endswith("StateExited") and answer is not None:
            name = f"{inside}.{state}" if inside else state
            kinds[answer[0]][name].append(Entry(HOST, answer[1]))


def _without_trace(cause: str) -> str:
    """A function's error without its trace, which holds the paths and lines of the release that failed."""
    try:
        document = json.loads(cause)
    except ValueError:
        return cause
    if not isinstance(document, dict) or "stackTrace" not in document:
        return cause
    return json.dumps({**document, "stackTrace": []})


def _plain(text: str, names: _Names) -> Any:
    return normalised(json.loads(names.deployed(text)))


# --- calls of functions -------------------------------------------------------------------------------


def _calls(document: Mapping[str, Any], product: Product) -> Iterator[Call]:
    """Every allowed call of a role that is a function's, under the names of the example deployment.

    But for the key: who needs it follows from the other calls, in a deployment that has one.
    """
    names = _Names(document.get("stacks", {}), product)
    for call in document.get("calls", []):
        role = names.role(call["role"])
        if role is not None and call["allowed"] and not call["action"].startswith("kms:"):
            yield Call.of(
                role, call["action"], names.example(call["resource"]), names.example(call["context"])
            )


class _Names:
    """Physical names of the tests' stacks, and the example deployment's names for the same resources."""

    def __init__(self, stacks: Mapping[str, Any], product: Product) -> None:
        values = values_of(product.template)
        functions = {
            role.name for role in roles_of(product.template) if role.trusted == ("lambda.amazonaws.com",)
        }
        self._roles: dict[str, str] = {}
        known = product.resources
        self._labels = {
            state.get("Label"): name
            for machine in product.machines()
            for name, state in states_of(machine.definition())
            if state["Type"] == "Map"
        }
        pairs: dict[str, str] = {}
        for stack, described in stacks.items():
            adds_grants = any(described["parameters"].get(name) for name in _ADDING_GRANTS)
            for logical_id, physical in described["resources"].items():
                name = physical.rpartition("/")[2] if ":role/" in physical else physical
                if logical_id in functions and not adds_grants:
                    self._roles[name] = logical_id
                if logical_id in known and not physical.startswith("arn:"):
                    pairs[physical] = values.name(logical_id)
            model = described["parameters"].get("ModelName", stack)
            pairs[model] = str(values.resolve({"Ref": "ModelName"}))
            for machine in ("training", "deployment", "batch"):
                pairs[f"{stack}-{machine}"] = f"dropforge-{machine}"
        ordered = sorted(pairs, key=len, reverse=True)
        self._pattern = re.compile(
            "|".join(rf"(?<![\w]){re.escape(each)}(?![\w])" for each in ordered) or "$^"
        )
        self._pairs = pairs

    def map_state(self, label: str) -> str:
        """The Map state whose children have the label."""
        return self._labels.get(label, label)

    def role(self, name: str) -> str | None:
        """The logical id of a function's role."""
        return self._roles.get(name)

    def example(self, value: Any) -> Any:
        """The same text, or texts, in the example deployment."""
        if isinstance(value, dict):
            return {name: self.example(each) for name, each in value.items()}
        if isinstance(value, list):
            return sorted({str(self.example(each)) for each in value})
        return _general(self.deployed(str(value)))

    def deployed(self, text: str) -> str:
        """The text with the example deployment's names."""
        named = self._pattern.sub(lambda match: self._pairs[match[0]], text)
        return named.replace("000000000000", ACCOUNT)


# What differs from run to run and from file to file, and what stands for it.
_GENERAL = (
    (re.compile(r"[0-9a-f]{64}"), "<sha256>"),
    (re.compile(r"(?<=code/<sha256>/).+"), "<file>"),
    (re.compile(r"(?<=scratch/)[^/]+"), "<run>"),
    (re.compile(r"(?<=scratch/<run>/).+\.(?=json|parquet|npz|jsonl|arrow|npy)"), "<name>."),
    (
        re.compile(r"(?<=runs/)[^/]+|(?<=models/)[^/]+|(?<=registered/)[^/]+|(?<=batch/work/)[^/]+"),
        "<run>",
    ),
    (re.compile(r"(?<=scratch/)[^/]+"), "<run>"),
    (re.compile(r"(?<=scratch/<run>/).+"), "<file>"),
    (re.compile(r"(?<=incoming/).+|(?<=batch/in/).+"), "<file>"),
    (re.compile(r"(?<=batch/out/)[^.]+"), "<file>"),
    (re.compile(r"(?<=models/<run>/)[^/]+(?=/output/)"), "<job>"),
    (re.compile(r"part-\d+(-\d+)?"), "part-<n>"),
    (re.compile(r"report-\d+"), "report-<time>"),
    (re.compile(r"\d{4}/\d\d/\d\d/\d\d"), "<hour>"),
    (re.compile(r"(?<=monitoring/)\d{4}/(\d\d/)*"), "<hour>/"),
    (re.compile(r"-v\d+(-\d+)?"), "-v<n>"),
    (re.compile(r"(?<=model-package/model/)\d+"), "<n>"),
    (re.compile(r"(?<=:execution:dropforge-training:).+|(?<=:execution:dropforge-deployment:).+"), "<name>"),
    (re.compile(r"#\S+"), "#<n>"),
    (re.compile(r"^\d{4}-\d\d-\d\dT\d\d.*"), "<hour>"),
)


def _general(text: str) -> str:
    for pattern, name in _GENERAL:
        text = pattern.sub(name, text)
    return text
