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
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from tests.unit.training.job_folders import run_job, write_job

from bench import http_load
from bench.environments import python_of
from bench.record import Result, kept
from dropforge.domain.contract import Column, Contract

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = REPOSITORY / ".dropforge" / "cache" / "bench"
MODEL_SERVER = REPOSITORY / "local" / "dropforge_local" / "sagemaker" / "model_server.py"

NUMBERS = tuple(f"n{place}" for place in range(15))
CATEGORIES = tuple(f"c{place}" for place in range(5))
ROWS = 8000
TREES = 100
CONNECTIONS = 16
START_TIMEOUT_S = 120.0

OURS, USUAL, OURS_NGINX, MLFLOW_SERVE = (
    "dropforge",
    "nginx + gunicorn + Flask, DataFrame",
    "dropforge behind nginx",
    "mlflow models serve",
)

USUAL_SCRIPT = '''\
"""The usual SageMaker inference script."""
import json
import os

import joblib
import pandas as pd
from flask import Response


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "pipeline.joblib"))


def transform_fn(model, body, content_type, accept):
    frame = pd.DataFrame(json.loads(body)["instances"])
    labels = model.classes_
    predictions = [
        {"label": labels[row.argmax()], "probabilities": dict(zip(labels, row.tolist()))}
        for row in model.predict_proba(frame)
    ]
    return Response(json.dumps({"predictions": predictions}), mimetype="application/json")
'''

NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream gunicorn {{ server 127.0.0.1:{upstream}; }}
  server {{
    listen 127.0.0.1:{port} deferred;
    client_max_body_size 20m;
    keepalive_timeout 3;
    location ~ ^/(ping|invocations) {{
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Host $http_host;
      proxy_redirect off;
      proxy_read_timeout 60s;
      proxy_pass http://gunicorn;
    }}
  }}
}}
"""
"""As the scikit-learn image's own nginx.conf, on loopback."""


@dataclass
class Served:
    """A server that answers, and what was measured of it."""

    name: str
    port: int
    body: bytes
    start_s: float
    p50_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        alone = http_load.run(self.port, "/invocations", self.body, connections=1, seconds=seconds)
        self.p50_ms.append(1000 * statistics.median(alone))
        started = time.perf_counter()
        many = http_load.run(self.port, "/invocations", self.body, connections=CONNECTIONS, seconds=seconds)
        self.per_s.append(len(many) / (time.perf_counter() - started))


class PeerAbsent(Exception):
    """The peer can't be installed here; the text says why."""


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


def train_usual(contract: Contract, frame: pd.DataFrame, trees: int) -> Pipeline:
    """Fit the usual pipeline with as many trees."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = ColumnTransformer(
        [("categories", encoder, list(CATEGORIES)), ("numbers", SimpleImputer(), list(NUMBERS))]
    )
    categorical = [place < len(CATEGORIES) for place in range(len(CATEGORIES) + len(NUMBERS))]
    boosting = HistGradientBoostingClassifier(
        max_iter=trees, early_stopping=False, categorical_features=categorical, random_state=0
    )
    pipeline = Pipeline([("columns", columns), ("boosting", boosting)])
    return pipeline.fit(frame[[*NUMBERS, *CATEGORIES]], frame[contract.target])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own and end all of it after."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **more
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def await_answer(port: int, body: bytes, process: subprocess.Popen[bytes], log: Path) -> None:
    """Block until the server answers a prediction.

    Raises:
        RuntimeError: it ended, or didn't answer in time; with the end of its log.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    problem: Exception | None = None
    while time.monotonic() < deadline and process.poll() is None:
        try:
            http_load.run(port, "/invocations", body, connections=1, seconds=0)
        except (OSError, http_load.UnexpectedAnswer) as error:
            problem = error
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"no answer ({problem!r}): {log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def endpoint(name: str, root: Path, body: bytes) -> Iterator[Served]:
    """Serve a model folder with the local endpoint's own model server, one worker."""
    log = root / "server.log"
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        environment = {
            **os.environ,
            "ML_ROOT": str(root),
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            # Fair to the peer: its boosting would spin on two threads for every row.
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-P", str(MODEL_SERVER), str(listening.fileno())]
        started = time.perf_counter()
        with running(command, log, env=environment, pass_fds=[listening.fileno()]) as process:
            port = int(listening.getsockname()[1])
            await_answer(port, body, process, log)
            yield Served(name, port, body, time.perf_counter() - started)


@contextlib.contextmanager
def behind_nginx(name: str, binary: str, upstream: Served, folder: Path) -> Iterator[Served]:
    """Put nginx before a server."""
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder, port=port, upstream=upstream.port))
    log = folder / "stdout.log"
    command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with running(command, log) as process:
        await_answer(port, upstream.body, process, log)
        yield Served(name, port, upstream.body, upstream.start_s)


def nginx() -> str:
    """Return nginx: the installed one, or Debian's package unpacked into the cache (nothing is installed).

    Raises:
        PeerAbsent: neither is to be had.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    unpacked = CACHE / "nginx" / "usr" / "sbin" / "nginx"
    if found or unpacked.is_file():
        return found or str(unpacked)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            quiet: dict[str, Any] = {"cwd": folder, "capture_output": True, "timeout": 120}
            download = ["apt-get", "download", "nginx"]
            if subprocess.run(download, check=False, **quiet).returncode != 0:
                # A machine that has installed nothing yet has no list of packages; only root may fetch one.
                subprocess.run(["apt-get", "-qq", "update"], check=False, **quiet)
                subprocess.run(download, check=True, **quiet)
            (package,) = Path(folder).glob("nginx_*.deb")
            subprocess.run(["dpkg-deb", "-x", str(package), str(CACHE / "nginx")], check=True, **quiet)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise PeerAbsent(f"nginx is not installed, and Debian's package can't be had: {error}") from error
    return str(unpacked)


@contextlib.contextmanager
def mlflow_serve(pipeline_file: Path, row: Mapping[str, Any], folder: Path) -> Iterator[Served]:
    """Serve the pipeline as ``mlflow models serve`` does, one worker.

    Raises:
        PeerAbsent: mlflow can't be installed.
    """
    try:
        python = Path(python_of("mlflow"))
    except RuntimeError as error:
        raise PeerAbsent(f"mlflow can't be installed: {error}") from error
    folder.mkdir()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'tracking.db'}",
    }
    save = (
        "import sys, joblib, mlflow.sklearn; pipeline = joblib.load(sys.argv[1]); "
        "mlflow.sklearn.save_model(pipeline, sys.argv[2], serialization_format='cloudpickle', "
        "pip_requirements=['mlflow'])"
    )
    saved = subprocess.run(
        [str(python), "-c", save, str(pipeline_file), str(folder / "model")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if saved.returncode != 0:
        raise PeerAbsent(f"mlflow can't save the pipeline: {saved.stderr[-500:]}")
    port = free_port()
    command = [str(python.parent / "mlflow"), "models", "serve", "-m", str(folder / "model")]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    body = json.dumps({"dataframe_records": [row]}).encode()
    log = folder / "server.log"
    started = time.perf_counter()
    with running(command, log, env=environment, cwd=folder) as process:
        await_answer(port, body, process, log)
        yield Served(MLFLOW_SERVE, port, body, time.perf_counter() - started)


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
        joblib.dump(train_usual(contract, frame, trees), pipeline_file)
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
