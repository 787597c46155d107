"""Runs a peer's script in an environment of its own, made by uv of pinned versions."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".dropforge" / "cache" / "bench"

Measured = dict[str, list[dict[str, Any]]]
"""By contestant, what each of its runs told."""

PACKAGES = {
    "pandas": ("pandas==2.3.3", "numpy==2.3.5", "pyarrow==22.0.0"),
    "polars": ("polars==1.35.2", "numpy==2.3.5"),
    "evidently": ("evidently==0.7.23", "numpy==2.3.5", "pandas==2.3.3", "scipy==1.16.3", "pyarrow==22.0.0"),
    "scipy": ("scipy==1.16.3", "pandas==2.3.3", "numpy==2.3.5", "pyarrow==22.0.0"),
    "river": ("river==0.26.1", "narwhals==2.29.0", "scipy==1.16.3", "numpy==2.3.5"),
    "mlflow": ("mlflow==3.17.2", "scikit-learn==1.9.0", "pandas==2.2.3", "joblib==1.5.3"),
    "fairlearn": ("fairlearn==0.15.0", "scikit-learn==1.9.0", "numpy==2.3.5", "pandas==2.3.3"),
    "numpy-alone": ("numpy==2.3.5",),
    "scikit-learn-older": ("scikit-learn==1.8.0", "numpy==2.3.5", "joblib==1.5.3"),
    "scikit-learn-newer": ("scikit-learn==1.9.1", "numpy==2.3.5", "joblib==1.5.3"),
    "elsewhere": (
        "scikit-learn==1.9.0",
        "numpy==2.3.5",
        "joblib==1.5.3",
        "skops==0.16.0",
        "skl2onnx==1.20.0",
        "onnx==1.23.2",
        "onnxruntime==1.32.0",
        "protobuf==6.33.6",
        "treelite==4.8.1",
    ),
    # NannyML imports statsmodels, which it doesn't ask for.
    "nannyml": (
        "nannyml==0.13.1",
        "statsmodels==0.14.6",
        "patsy==1.0.3",
        "numpy<2.4",
        "pandas<3",
        "pyarrow==22.0.0",
    ),
    "duckdb": ("duckdb==1.4.2", "numpy==2.3.5"),
}


def run(
    command: Sequence[str],
    cores: Collection[int],
    extra: dict[str, str] | None = None,
    tree: Path = ROOT,
) -> dict[str, Any]:
    """Run a child on these cores; returns what its last line of JSON says.

    Args:
        tree: the checkout whose ``bench`` and ``core`` it imports.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree), str(tree / "core")]),
        **(extra or {}),
    }
    environment.pop("VIRTUAL_ENV", None)
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(len(cores)))
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]
    done = subprocess.run(pinned, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def in_turn(
    names: Iterable[str],
    rounds: int,
    one: Callable[[str], dict[str, Any]],
    say: Callable[[str, dict[str, Any]], str],
) -> Measured:
    """Run each once per round, and every other round the other way round, so that what else the machine does
    meets all alike; print what `say` makes of each run."""
    found: Measured = {name: [] for name in names}
    for number in range(rounds):
        for name in list(found)[:: -1 if number % 2 else 1]:
            found[name].append(one(name))
            print(f"  {say(name, found[name][-1])}", flush=True)
    return found


def median(found: Measured, name: str, key: str) -> float:
    return statistics.median(one[key] for one in found[name])


def python_of(peer: str) -> str:
    """Return the Python of the peer's environment, made on first use.

    Raises:
        RuntimeError: it can't be made.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is not on the path")
    folder = CACHE / f"peer-{peer}"
    wanted = "\n".join(PACKAGES[peer])
    python, note = folder / "bin" / "python", folder / "packages.txt"
    if not note.exists() or note.read_text() != wanted:
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *PACKAGES[peer]],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{peer}: {done.stderr.strip()[-500:]}")
        note.write_text(wanted)
    return str(python)
