"""What each piece of the local host's start-up finesse saves: containers, functions and loading without it.

    python -m bench host-start [--rounds 3]

The local host's package is copied once per piece, with that piece taken out, and measured in processes of its
own, in turn, so that the machine's other work falls on all alike. A container runs a script that fits
scikit-learn's boosting on 500 rows; a function makes a client of boto3, in a new environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "local" / "dropforge_local"
PIECES = {
    "containers are forked": (
        "sagemaker/container.py",
        "        if script is None:\n",
        "        if True:\n",
    ),
    "their end frees no library": (
        "sagemaker/container_init.py",
        "    _finalize(loaded, exit_code)\n\n",
        "    sys.exit(exit_code)\n\n",
    ),
    "functions are forked": (
        "glue/lambda_environments.py",
        "        if forked is not None:\n",
        "        if False:\n",
    ),
    "the SDK's descriptions are read before": (
        "glue/lambda_bootstrap.py",
        "    create = session.create_loader\n",
        "    return\n    create = session.create_loader\n",
    ),
    "fork servers start with a deployment": (
        "glue/lambda_preparation.py",
        '        if runtime.startswith("python"):\n',
        "        if False:\n",
    ),
    "shared memory is left alone": (
        "forking/fork_server.py",
        "    gc.collect()\n    gc.freeze()\n",
        "    pass\n",
    ),
}
"""By piece: the file of the package, the text there, and what stands for it where the piece is off."""

_CONTAINERS = """
import json, sys, time
from pathlib import Path
from dropforge_local.sagemaker.container import Container, Image, Root
folder = Path(sys.argv[1])
image = Image(sys.executable, [str(Path(sys.executable).parent)], folder / "bin")
began = time.perf_counter()
image.load_libraries()
assert image.libraries.wait(300)
found = {"loading for containers": [time.perf_counter() - began], "container": []}
for number in range(6):
    root = Root(folder / str(number), image.namespaces)
    script = root.ml / "script.py"
    script.write_text(
        "import numpy as np, pyarrow.parquet\\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier as Model\\n"
        "rng = np.random.default_rng(7); rows = rng.random((500, 8))\\n"
        "Model(max_iter=5).fit(rows, rows[:, 0] > 0.5)\\n"
    )
    began = time.perf_counter()
    container = Container(image, root, ["python3", "/opt/ml/script.py"], {})
    assert container.wait(120) == 0, container.output.read()
    found["container"].append(time.perf_counter() - began)
    container.close()
image.close()
print(json.dumps(found))
"""
_FUNCTIONS = """
import json, os, sys, time
from pathlib import Path
from dropforge_local.host import LocalHost
from dropforge_local.settings import HostSettings
environment = HostSettings.environment  # which hands nothing on
HostSettings.environment = lambda self: {**environment(self), "PYTHONPATH": os.environ["PYTHONPATH"]}
found = {"first call after a deployment": [], "function": []}
with LocalHost(Path(sys.argv[1])) as host:
    name = host.deploy("probe")["Probe"]
    client = host.client("lambda")
    for number in range(9):
        began = time.perf_counter()
        answer = client.invoke(FunctionName=name, Payload=json.dumps({"do": "count", "key": str(number)}))
        assert "FunctionError" not in answer, answer["Payload"].read()
        found["function" if number else "first call after a deployment"].append(time.perf_counter() - began)
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "ROUND": str(number)}}
        )
print(json.dumps(found))
"""


def without(piece: str | None, folder: Path) -> Path:
    """A copy of the package, with the piece taken out.

    Raises:
        ValueError: the package has no such text any more.
    """
    copy = Path(shutil.copytree(PACKAGE, folder / "dropforge_local"))
    if piece is not None:
        name, text, other = PIECES[piece]
        path = copy / name
        source = path.read_text(encoding="utf-8")
        if source.count(text) != 1:
            raise ValueError(f"{name} doesn't have the text of {piece!r} once; look at PIECES.")
        path.write_text(source.replace(text, other), encoding="utf-8")
    return folder


def measured(package: Path, program: str, argument: Path) -> dict[str, list[float]]:
    done = subprocess.run(
        [sys.executable, "-c", program, str(argument)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench host-start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    seconds: dict[str | None, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="host-start-") as parent:
        folder = Path(parent)
        project = Path(shutil.copytree(ROOT / "local/tests/integration/host/project", folder / "project"))
        packages = {
            piece: without(piece, folder / f"package-{number}")
            for number, piece in enumerate((None, *PIECES))
        }
        for number in range(given.rounds):
            for piece, package in packages.items():
                for program, argument in (
                    (_CONTAINERS, folder / f"containers-{number}-{package.name}"),
                    (_FUNCTIONS, project),
                ):
                    for what, took in measured(package, program, argument).items():
                        seconds[piece][what] += took
    print(f"{'without it':<40}" + "".join(f"{what:>32}" for what in seconds[None]))
    for piece, by_what in seconds.items():
        ratios = [
            f"{statistics.median(took):.3f} s, "
            f"{statistics.median(took) / statistics.median(seconds[None][what]):.2f}"
            for what, took in by_what.items()
        ]
        print(f"{piece or 'all there':<40}" + "".join(f"{ratio:>32}" for ratio in ratios))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
