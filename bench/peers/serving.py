"""The usual ways to serve a model: SageMaker's script behind nginx and gunicorn, and mlflow."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench.environments import CACHE, python_of
from bench.servers import Served, await_answer, free_port, running
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

MLFLOW_SERVE = "mlflow models serve"

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

USUAL_FASTAPI = '''\
"""The usual FastAPI server of a model."""
import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import create_model

pipeline = joblib.load("pipeline.joblib")
numbers = {f"n{place}": (float | None, ...) for place in range(15)}
categories = {f"c{place}": (str | None, ...) for place in range(5)}
Row = create_model("Row", **numbers, **categories)
Rows = create_model("Rows", instances=(list[Row], ...))
app = FastAPI()


@app.post("/predict")
def predict(rows: Rows):
    frame = pd.DataFrame([row.model_dump() for row in rows.instances])
    labels = pipeline.classes_
    return {
        "predictions": [
            {"label": labels[row.argmax()], "probabilities": dict(zip(labels, row.tolist()))}
            for row in pipeline.predict_proba(frame)
        ]
    }
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


class PeerAbsent(Exception):
    """The peer can't be installed here; the text says why."""


def train_usual(
    features: pd.DataFrame, target: pd.Series, numbers: Sequence[str], categories: Sequence[str], trees: int
) -> Pipeline:
    """Fit the usual pipeline with as many trees."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = ColumnTransformer(
        [("categories", encoder, list(categories)), ("numbers", SimpleImputer(), list(numbers))]
    )
    categorical = [place < len(categories) for place in range(len(categories) + len(numbers))]
    boosting = HistGradientBoostingClassifier(
        max_iter=trees, early_stopping=False, categorical_features=categorical, random_state=0
    )
    return Pipeline([("columns", columns), ("boosting", boosting)]).fit(features, target)


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
