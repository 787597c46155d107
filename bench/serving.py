"""One row through ``/invocations``: dropforge's local endpoint beside the usual ways to serve the same model.

    python -m bench serving

Trains a boosted model of 15 numbers and 5 categories with ``training/train.py``, and a scikit-learn pipeline
(ColumnTransformer, the same HistGradientBoostingClassifier, as many trees) on the same rows. Then it serves
with one worker each:

- dropforge: the local endpoint's model server with the job's own ``model.tar.gz`` content;
- the usual SageMaker script: nginx, gunicorn, Flask, and a DataFrame through the pipeline;
- ``mlflow models serve`` of the pipeline, in an environment of its own.

Rounds alternate between the servers, so that what else the machine does meets all of them. Per round it
takes the median time on one connection and the requests per second on 16. Shown are medians over the rounds,
and the median of the rounds' ratios. A peer that can't be installed is reported as absent, not guessed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tests.unit.training.job_folders import run_job, write_job

from bench.peers.serving import (
    MLFLOW_SERVE,
    USUAL_SCRIPT,
    PeerAbsent,
    behind_nginx,
    mlflow_serve,
    nginx,
    train_usual,
)
from bench.record import Result, kept
from bench.servers import CONNECTIONS, REPOSITORY, endpoint
from dropforge.domain.contract import Column, Contract

NUMBERS = tuple(f"n{place}" for place in range(15))
CATEGORIES = tuple(f"c{place}" for place in range(5))
ROWS = 8000
TREES = 100

OURS, OURS_NGINX = "dropforge", "dropforge behind nginx"
USUAL = "nginx + gunicorn + Flask, DataFrame"


def data() -> tuple[Contract, pd.DataFrame]:
    """Return the contract and the rows: two classes that depend on numbers and categories, some missing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, len(NUMBERS))), columns=list(NUMBERS))
    words = np.array(["north", "east", "south", "west", "centre", "abroad"], dtype=object)
    for name in CATEGORIES:
        frame[name] = words[rng.integers(0, len(words), ROWS)]
    signal = frame["n0"] + frame["n1"] * frame["n2"] + (frame["c0"] == "north") + np.sin(3 * frame["n3"])
    frame["y"] = np.where(signal + rng.normal(0, 0.5, ROWS) > 0.3, "yes", "no")
    for name in NUMBERS[:5]:
        frame.loc[rng.random(ROWS) < 0.05, name] = np.nan
    columns = [Column(name, "number", nullable=True) for name in NUMBERS]
    columns += [Column(name, "category") for name in CATEGORIES]
    return Contract("y", None, "binary", ("no", "yes"), (*columns, Column("y", "category", "target"))), frame


def train_ours(root: Path, contract: Contract, frame: pd.DataFrame) -> int:
    """Run the training job; returns the number of trees. Lays out ``code`` as the endpoint has it."""
    write_job(root, contract, frame, {"estimator": "boosted", "max_iter": str(TREES), "seed": "0"})
    done = run_job(root)
    if done.returncode != 0:
        raise RuntimeError(f"training failed: {done.stderr[-2000:]}")
    report = json.loads((root / "output" / "data" / "training_report.json").read_bytes())
    if not report["compiled"]["used"]:
        raise RuntimeError(f"the model was not compiled: {report['compiled']['reason']}")
    shutil.copytree(root / "model" / "code", root / "code")
    sys.path.insert(0, str(REPOSITORY / "training"))  # the pickle names model.py
    estimator = joblib.load(root / "model" / "model.joblib")
    return int(estimator.best_.estimator.n_iter_)


def ratio_of(ours: list[float], peers: list[float]) -> float:
    """The median of the rounds' ratios: each round met the same machine."""
    return statistics.median(mine / theirs for mine, theirs in zip(ours, peers, strict=True))


def compared(
    name: str, ours: list[float], peer: str, peers: list[float], goal: tuple[str, float] | None
) -> Result | None:
    """Print a comparison and return it; None where no goal is set. `goal` is (``<=`` or ``>=``, a ratio)."""
    ratio = ratio_of(ours, peers)
    mine, theirs = statistics.median(ours), statistics.median(peers)
    line = f"{name}: {mine:.4g} against {theirs:.4g} ({peer}), ratio {ratio:.3g}"
    if goal is None:
        print(line)
        return None
    met = ratio <= goal[1] if goal[0] == "<=" else ratio >= goal[1]
    print(f"{line}, goal {goal[0]} {goal[1]:g}: {'met' if met else 'MISSED'}")
    wanted = f"ratio {goal[0]} {goal[1]:g}"
    return Result(f"serving: {name}", round(mine, 4), peer, round(theirs, 4), round(ratio, 4), wanted, met)


def compare(rounds: int, seconds: float) -> list[Result]:
    """Train, serve, measure, print; returns what has a goal."""
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as temporary, contextlib.ExitStack() as servers:
        work = Path(temporary)
        contract, frame = data()
        trees = train_ours(work / "ours", contract, frame)
        usual = work / "usual"
        (usual / "model").mkdir(parents=True)
        (usual / "code").mkdir()
        (usual / "code" / "inference.py").write_text(USUAL_SCRIPT)
        pipeline_file = usual / "model" / "pipeline.joblib"
        features, target = frame[[*NUMBERS, *CATEGORIES]], frame[contract.target]
        joblib.dump(train_usual(features, target, NUMBERS, CATEGORIES, trees), pipeline_file)
        smoke = json.loads((work / "ours" / "output" / "data" / "smoke.json").read_bytes())
        row = smoke["instances"][0]
        body = json.dumps({"instances": [row]}).encode()
        print(f"{trees} trees, {len(NUMBERS)} numbers and {len(CATEGORIES)} categories per row", flush=True)

        ours = servers.enter_context(endpoint(OURS, work / "ours", body))
        plain = servers.enter_context(endpoint("the usual script without nginx", usual, body))
        found = {OURS: ours}
        starts: dict[str, list[float]] = {"ours": [ours.start_s], "usual": [plain.start_s]}
        for _ in range(2):
            for name, root in (("ours", work / "ours"), ("usual", usual)):
                with endpoint(name, root, body) as again:
                    starts[name].append(again.start_s)
        try:
            binary = nginx()
            found[USUAL] = servers.enter_context(behind_nginx(USUAL, binary, plain, work / "nginx"))
            found[OURS_NGINX] = servers.enter_context(
                behind_nginx(OURS_NGINX, binary, ours, work / "nginx-ours")
            )
        except PeerAbsent as problem:
            print(f"absent: {problem}")
        try:
            found[MLFLOW_SERVE] = servers.enter_context(mlflow_serve(pipeline_file, row, work / "mlflow"))
        except PeerAbsent as problem:
            print(f"absent: {problem}")

        for number in range(rounds):
            order = list(found.values())
            for server in order if number % 2 == 0 else reversed(order):
                server.measure(seconds)

    for server in found.values():
        p50, per_s = statistics.median(server.p50_ms), statistics.median(server.per_s)
        print(f"{server.name:38} p50 {p50:7.3f} ms   {per_s:8.0f} requests/s at {CONNECTIONS} connections")
    usual_script = found.get(USUAL)
    mlflow = found.get(MLFLOW_SERVE)
    results = []
    if usual_script is not None:
        # The goals are for the same web layer before both: on AWS it is the image's, whatever the script.
        behind = found[OURS_NGINX]
        results += [
            compared("one row, p50 ms", behind.p50_ms, USUAL, usual_script.p50_ms, ("<=", 0.10)),
            compared("one row, requests/s", behind.per_s, USUAL, usual_script.per_s, (">=", 10)),
            compared("one row, p50 ms, ours without nginx", ours.p50_ms, USUAL, usual_script.p50_ms, None),
            compared("one row, requests/s, ours without nginx", ours.per_s, USUAL, usual_script.per_s, None),
        ]
    if mlflow is not None:
        results += [
            compared("one row, requests/s", ours.per_s, MLFLOW_SERVE, mlflow.per_s, (">=", 5)),
            compared("one row, p50 ms", ours.p50_ms, MLFLOW_SERVE, mlflow.p50_ms, None),
        ]
    name = "start to first answer, s"
    results.append(compared(name, starts["ours"], "the usual script", starts["usual"], ("<=", 0.5)))
    return [result for result in results if result is not None]


def main(arguments: list[str]) -> int:
    """Print the comparison and keep the results; exit 0 if every goal was met."""
    parser = argparse.ArgumentParser(prog="python -m bench serving", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    options = parser.parse_args(arguments)
    results = compare(options.rounds, options.seconds)
    return kept(results)
