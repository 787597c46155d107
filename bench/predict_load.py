"""Load on the prediction API of the local host: clients in parallel for a while, then the log is counted.

Deploys the template, trains and approves a model on a real data set, and lets the clients send one instance
after the other. Prints p50 and p99, errors, predictions answered beside predictions logged, and the overhead
over calling the endpoint itself in the same way, as a ratio of medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from bench.record import Result, kept

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / each) for each in ("core", "local", "ops"))]

from tests.workflow.prediction_api import Api  # noqa: E402
from tests.workflow.stack import Stack  # noqa: E402

from dropforge.adapters.prediction_log import DynamoDbPredictionLog  # noqa: E402
from dropforge.adapters.sigv4_http_services import DynamoDbHttp, EndpointHttp  # noqa: E402
from dropforge_local.host import LocalHost  # noqa: E402
from dropforge_ops.stack.samples import SAMPLES, write_samples  # noqa: E402

SAMPLE = "breast-cancer"
WARM_UP_S = 3.0
BARE_S = 10.0


@dataclass
class Tally:
    """What one client saw."""

    latencies_s: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def api_client(api: Api, body: bytes) -> Callable[[Tally], None]:
    """A client that keeps its connection and sends the same request again and again."""
    parts = urlsplit(api.url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    headers = {"Content-Type": "application/json", "x-api-key": api.key or ""}

    def send(tally: Tally) -> None:
        connection.request("POST", f"{parts.path}/predict", body, headers)
        response = connection.getresponse()
        text = response.read()
        if response.status == 200:
            tally.ids += [each["id"] for each in json.loads(text)["predictions"]]
        else:
            tally.errors.append(f"{response.status} {text[:200]!r}")

    return send


def bare_client(environment: dict[str, str], endpoint_name: str, body: bytes) -> Callable[[Tally], None]:
    """A client that calls the endpoint itself, signed like the predict function does."""
    endpoint = EndpointHttp.from_env(environment)

    def send(_tally: Tally) -> None:
        endpoint.invoke(endpoint_name, body)

    return send


def load(clients: list[Callable[[Tally], None]], seconds: float) -> Tally:
    """Let every client send without a pause until the time is over; their tallies as one."""
    tallies = [Tally() for _ in clients]
    end = time.perf_counter() + seconds

    def run(send: Callable[[Tally], None], tally: Tally) -> None:
        while (started := time.perf_counter()) < end:
            try:
                send(tally)
            except Exception as error:  # a broken connection is an error of the load like any other
                tally.errors.append(repr(error))
            tally.latencies_s.append(time.perf_counter() - started)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(clients, tallies, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Tally()
    for tally in tallies:
        whole.latencies_s += tally.latencies_s
        whole.ids += tally.ids
        whole.errors += tally.errors
    return whole


def percentiles(latencies_s: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    cuts = statistics.quantiles(latencies_s, n=100)
    return round(cuts[49] * 1000, 2), round(cuts[98] * 1000, 2)


def measure(host: LocalHost, folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    write_samples(folder)
    described = SAMPLES[SAMPLE]
    parameters = {"TargetColumn": described.target, "ApiRateLimit": "10000", "ApiBurstLimit": "5000"}
    stack = Stack(host, "load", parameters, ROOT / "template.yaml")
    live = stack.train_and_deploy(folder / f"{SAMPLE}.csv")
    instance = stack.read_json(live.smoke_uri)["instances"][0]
    started = datetime.now(UTC) - timedelta(seconds=1)
    environment = {
        "AWS_REGION": host.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": host.endpoint_url,
    }
    api, body = Api(stack), json.dumps({"instance": instance}).encode()
    bare_body = json.dumps({"instances": [instance]}).encode()
    callers = [api_client(api, body) for _ in range(clients)]
    bare = [bare_client(environment, live.endpoint_name, bare_body) for _ in range(clients)]
    warm = load(callers, WARM_UP_S)
    load(bare, WARM_UP_S)
    loaded = load(callers, seconds)
    loaded_bare = load(bare, min(BARE_S, seconds))
    single = load(callers[:1], min(BARE_S, seconds))
    single_bare = load(bare[:1], min(BARE_S, seconds))
    log = DynamoDbPredictionLog(
        DynamoDbHttp.from_env(environment), stack.outputs["PredictionsTable"], retention_days=90
    )
    logged = log.window(started, datetime.now(UTC) + timedelta(seconds=1))
    answered = warm.ids + loaded.ids + single.ids
    p50, p99 = percentiles(loaded.latencies_s)
    bare_p50, bare_p99 = percentiles(loaded_bare.latencies_s)
    single_p50, single_bare_p50 = (percentiles(each.latencies_s)[0] for each in (single, single_bare))
    errors = warm.errors + loaded.errors + single.errors
    return {
        "clients": clients,
        "seconds": seconds,
        "requests": len(loaded.latencies_s),
        "requests_per_s": round(len(loaded.latencies_s) / seconds, 1),
        "p50_ms": p50,
        "p99_ms": p99,
        "errors": len(errors),
        "first_errors": errors[:3],
        "answered": len(answered),
        "logged": len(logged),
        "lost": len(set(answered) - set(logged.ids)),
        "bare_p50_ms": bare_p50,
        "bare_p99_ms": bare_p99,
        "overhead_ratio": round(p50 / bare_p50, 2),
        "one_client_p50_ms": single_p50,
        "one_client_bare_p50_ms": single_bare_p50,
        "one_client_overhead_ratio": round(single_p50 / single_bare_p50, 2),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench predict-load", description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder, LocalHost(ROOT, wait_scale=0.2) as host:
        found = measure(host, Path(folder), options.clients, options.seconds)
    print(json.dumps({"bench": "predict_load", **found}))
    complete = not found["errors"] and not found["lost"] and found["answered"] == found["logged"]
    result = Result(
        f"prediction over HTTP, p50 ms, {options.clients} clients",
        found["p50_ms"],
        "bare signed request to the endpoint",
        found["bare_p50_ms"],
        found["overhead_ratio"],
        "no error, every answer in the log",
        complete,
    )
    return kept([result])
