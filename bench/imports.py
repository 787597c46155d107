"""What a function costs before its first event beside creating one boto3 client: CPU time, medians.

    python -m bench imports [--rounds 9]

Each function is measured as it is deployed: its code and layers are built, byte code included, and a fresh
process sees the standard library, the function, its layers and the runtime's SDK, nothing else. It is
imported and makes a client of its own, but `predict`, which signs its requests itself; those that work on
tables make that machinery as well, which loads pyarrow. They run in turn, so that the machine's other work
falls on all alike; what a bare Python costs is taken off.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.record import at_most, kept
from dropforge_local.build import Builder
from dropforge_local.glue.lambda_environments import DEFAULT_VARIABLES, ExecutionEnvironments
from dropforge_local.glue.runtime_packages import link_runtime_packages

ROOT = Path(__file__).resolve().parents[1]
CLIENT = "boto3 client"
BARE = "bare"
GOALS = {"predict": 0.5}
OTHERS_GOAL, TABLES_GOAL = 1.6, 2.0
MACHINERY = "dropforge.adapters.tables"
ENVIRONMENT = {
    **DEFAULT_VARIABLES,
    # Lambda's folders can't be written to; what layers bring is compiled already.
    "PYTHONDONTWRITEBYTECODE": "1",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "LEDGER_TABLE": "ledger",
    "PREDICTIONS_TABLE": "predictions",
    "PREDICTION_RETENTION_DAYS": "90",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "DATA_BUCKET": "data",
    "UNDELIVERED_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/undelivered",
}
CODE = {
    BARE: "pass",
    CLIENT: "import boto3; boto3.client('dynamodb')",
    # Its service is made at the first request.
    "predict": "import app; app._service()",
}
READING = """
import json, os, sys, time
seconds = time.process_time()
loaded = [each.__spec__ for each in list(sys.modules.values()) if getattr(each, "__spec__", None)]
compiled_now = [each.origin for each in loaded if each.cached and not os.path.exists(each.cached)]
print(json.dumps({"seconds": seconds, "compiled_now": compiled_now}), flush=True)
os._exit(0)
"""
"""Its end is no part of a start: Lambda never waits for it."""


def environments(runtime: Path) -> dict[str, dict[str, str]]:
    """Build the template; return each function's variables, as far as they are constant, with its paths.

    Args:
        runtime: the runtime's packages.
    """
    builder = Builder(ROOT / "template.yaml", ROOT / ".dropforge" / "cache")
    built = builder.build()
    folders = {name: builder.unpacked / each.sha256 for (name, _), each in built.artifacts.items()}
    common = built.template["Globals"]["Function"]
    found = {BARE: _environment([], {}), CLIENT: _environment([str(runtime)], {})}
    for name, kind in built.artifacts:
        if kind == "CodeUri":
            own = built.template["Resources"][name]["Properties"]
            # SAM adds a function's layers and variables to those of all.
            layers = [folders[each["Ref"]] for each in common["Layers"] + own.get("Layers", [])]
            paths = [str(folders[name]), *ExecutionEnvironments.search_path(layers), str(runtime)]
            variables = [each.get("Environment", {}).get("Variables", {}) for each in (common, own)]
            found[Path(own["CodeUri"]).name] = _environment(paths, {**variables[0], **variables[1]})
    return found


def _environment(search_path: list[str], declared: dict[str, object]) -> dict[str, str]:
    constant = {name: value for name, value in declared.items() if isinstance(value, str)}
    return {**ENVIRONMENT, **constant, "PYTHONPATH": os.pathsep.join(search_path)}


def adapters(function: str) -> dict[str, list[str]]:
    """Return the builders of `dropforge.bootstrap` that the function calls, and what each of them imports."""
    tree = ast.parse((ROOT / "core" / "dropforge" / "bootstrap.py").read_text())
    builders = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}

    def modules(name: str) -> set[str]:
        nodes = list(ast.walk(builders[name]))
        called = {
            node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        return imported.union(*map(modules, called & builders.keys()))

    app = ast.parse((ROOT / "functions" / function / "app.py").read_text())
    used = {ast.unparse(node) for node in ast.walk(app) if isinstance(node, ast.Attribute)}
    return {name: sorted(modules(name)) for name in builders if f"bootstrap.{name}" in used}


def table_makers(function: str) -> list[str]:
    """Name what the function makes of the machinery of tables, which loads pyarrow."""
    found = adapters(function).items()
    return [name for name, modules in found if any(each.startswith(MACHINERY) for each in modules)]


def code_of(name: str) -> str:
    """Return what is timed: the function's import, and what it loads for its first event."""
    makers = table_makers(name)
    lines = ["import app", "from dropforge import bootstrap", "bootstrap._client('dynamodb')"]
    lines += [
        f"import {each}"
        for maker, modules in adapters(name).items()
        if maker not in makers
        for each in modules
    ]
    return "\n".join([*lines, *(f"bootstrap.{maker}(None)" for maker in makers)])


def cpu_seconds(name: str, environment: dict[str, str]) -> float:
    """CPU seconds that a fresh interpreter has spent when the function is imported.

    Raises:
        RuntimeError: the import failed, or a layer's module had no byte code.
    """
    command = [sys.executable, "-S", "-s", "-P", "-c", f"{CODE.get(name) or code_of(name)}\n{READING}"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-500:]}")
    found = json.loads(done.stdout)
    if slow := [path for path in found["compiled_now"] if Path(path).name != "app.py"]:
        raise RuntimeError(f"{name}: {len(slow)} modules have no byte code, the first is {slow[0]}")
    return float(found["seconds"])


def measure(rounds: int) -> dict[str, float]:
    """Return the median CPU milliseconds of each import, and of the client, beyond a bare interpreter."""
    with tempfile.TemporaryDirectory(prefix="bench-") as runtime:
        link_runtime_packages(Path(runtime))
        # Of a package that is one file, the link has no byte code; others are compiled where they are.
        for folder in (runtime, *(each.resolve() for each in Path(runtime).iterdir() if each.is_dir())):
            compileall.compile_dir(folder, quiet=2)
        variables = environments(Path(runtime))
        found: dict[str, list[float]] = {name: [] for name in variables}
        for _ in range(rounds):
            for name, times in found.items():
                times.append(cpu_seconds(name, variables[name]))
    bare = statistics.median(found.pop(BARE))
    return {name: (statistics.median(times) - bare) * 1000 for name, times in found.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    found = measure(parser.parse_args(arguments).rounds)
    client = found.pop(CLIENT)
    print(f"{CLIENT}: {client:.0f} ms CPU beyond a bare interpreter")
    results = []
    for name, milliseconds in found.items():
        goal = GOALS.get(name, TABLES_GOAL if table_makers(name) else OTHERS_GOAL)
        results.append(at_most(f"import of {name}, ms CPU", milliseconds, CLIENT, client, goal))
        said = f"{milliseconds:6.0f} ms  {milliseconds / client:5.2f} (goal {goal}){results[-1].missed}"
        print(f"{name:<20} {said}", flush=True)
    return kept(results)
