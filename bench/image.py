"""One row through an exported image's server beside the usual FastAPI server of the same model.

    python -m bench image

Trains the boosted model of ``bench serving``, and a scikit-learn pipeline (ColumnTransformer, the same
HistGradientBoostingClassifier, as many trees) on the same rows. Each is served by uvicorn in one process,
with the same loop and the same parser of HTTP, and writes a line of log a request:

- the application that ``dropforge export image`` carries, with its checks and its metrics, as its image
  starts it; predictions are not logged to a table;
- the usual script: FastAPI, a pydantic model of the columns, ``joblib.load``, a DataFrame through the
  pipeline.

Rounds alternate between the servers. The goal is for requests per second of the server's processor time, as
other work on the machine, the client's too, doesn't change it; what a client saw is shown beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import joblib

from bench import http_load
from bench.peers.serving import USUAL_FASTAPI, train_usual
from bench.record import Result, kept
from bench.servers import CONNECTIONS, Served, await_answer, free_port, running
from bench.serving import CATEGORIES, NUMBERS, compared, data, train_ours
from dropforge.domain.contract import Contract
from dropforge_ops.actions.image_export import application

OURS, USUAL = "exported image", "FastAPI + joblib + pandas"


def lay_out(exported: Path, job: Path, contract: Contract) -> None:
    """Write what the image's server reads, of a training job instead of a version that was live."""
    for name, content in application().items():
        path = exported / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    model = exported / "model"
    model.mkdir()
    with tarfile.open(model / "model.tar.gz", "w:gz") as packed:
        packed.add(job / "model", arcname=".")
    digest = hashlib.sha256((model / "model.tar.gz").read_bytes()).hexdigest()
    names = (
        "model_package_arn",
        "run_id",
        "endpoint_name",
        "endpoint_config",
        "model_name",
        "model_data_url",
    )
    told = dict.fromkeys((*names, "contract_uri", "profile_uri", "smoke_uri", "promoted_at"), "")
    numbers = {"version": 1, "token": 0, "metric": {}, "task": contract.task}
    digests = {"model_sha256": digest, "contract_hash": contract.hash}
    (model / "archive.json").write_text(json.dumps({**told, **numbers, **digests}))
    (model / "contract.json").write_bytes((job / "model" / "contract.json").read_bytes())
    (model / "evaluation.json").write_text("{}")


@dataclass
class Measured:
    """A server, and the requests per second of its processor time in each round."""

    served: Served
    pid: int
    per_cpu_s: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        self.served.measure(seconds)
        before, served = self._cpu_s(), self.served
        answered = http_load.run(
            served.port, served.path, served.body, connections=CONNECTIONS, seconds=seconds
        )
        self.per_cpu_s.append(len(answered) / (self._cpu_s() - before))

    def _cpu_s(self) -> float:
        """User and system time of the process: fields 14 and 15 of proc(5)'s stat."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def uvicorn(name: str, app: list[str], folder: Path, body: bytes, **env: str) -> Iterator[Measured]:
    """Serve an application in one process, as an image does."""
    port, log = free_port(), folder / "server.log"
    command = [sys.executable, "-P", "-m", "uvicorn", *app, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **env}
    started = time.perf_counter()
    with running(command, log, env=environment, cwd=folder) as process:
        await_answer(port, body, process, log, "/predict")
        yield Measured(Served(name, port, body, time.perf_counter() - started, "/predict"), process.pid)


def compare(rounds: int, seconds: float) -> list[Result]:
    """Train, serve, measure, print; returns what has a goal."""
    with tempfile.TemporaryDirectory(prefix="bench-image-") as temporary, contextlib.ExitStack() as servers:
        work = Path(temporary)
        contract, frame = data()
        trees = train_ours(work / "job", contract, frame)
        lay_out(work / "image", work / "job", contract)
        usual = work / "usual"
        usual.mkdir()
        (usual / "usual.py").write_text(USUAL_FASTAPI)
        features, target = frame[[*NUMBERS, *CATEGORIES]], frame[contract.target]
        joblib.dump(train_usual(features, target, NUMBERS, CATEGORIES, trees), usual / "pipeline.joblib")
        row = json.loads((work / "job" / "output" / "data" / "smoke.json").read_bytes())["instances"][0]
        body = json.dumps({"instances": [row]}).encode()
        ours, theirs = (
            servers.enter_context(
                uvicorn(
                    OURS,
                    ["--factory", "dropforge.image.app:create", "--no-access-log"],
                    work / "image",
                    body,
                    API_AUTH="none",
                )
            ),
            servers.enter_context(uvicorn(USUAL, ["usual:app"], usual, body)),
        )
        for number in range(rounds):
            for server in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                server.measure(seconds)
    seen, usual_seen = ours.served, theirs.served
    results = [
        compared("image, requests/s of a core", ours.per_cpu_s, USUAL, theirs.per_cpu_s, (">=", 10)),
        compared(
            f"image, requests/s at {CONNECTIONS} connections", seen.per_s, USUAL, usual_seen.per_s, None
        ),
        compared("image, p50 ms", seen.p50_ms, USUAL, usual_seen.p50_ms, None),
    ]
    return [result for result in results if result is not None]


def main(arguments: list[str]) -> int:
    """Print the comparison and keep the results; exit 0 if every goal was met."""
    parser = argparse.ArgumentParser(prog="python -m bench image", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    options = parser.parse_args(arguments)
    return kept(compare(options.rounds, options.seconds))
