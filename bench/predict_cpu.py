"""CPU per AWS call: the predict function's signed HTTP beside boto3's clients, same requests, same server.

The server is a process of its own that answers every request with a canned answer, so that what is counted is
the client's. Both clients send one InvokeEndpoint and one BatchWriteItem, as a prediction does.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.record import at_most, kept

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "core"))
GOAL = 0.4
ANSWERS = {
    b"/endpoints": b'{"predictions": [{"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}]}',
    b"/ ": b'{"UnprocessedItems": {}}',
}
INSTANCE = {f"feature {number}": number / 7 for number in range(20)}
BODY = json.dumps({"instances": [INSTANCE]}).encode()
WRITE: dict[str, Any] = {
    "RequestItems": {
        "predictions": [
            {
                "PutRequest": {
                    "Item": {
                        "pk": {"S": "2026-11-21T09#1"},
                        "sk": {"S": "0" * 32},
                        "model_version": {"N": "1"},
                        "inputs": {"S": json.dumps(INSTANCE)},
                        "output": {"S": '{"value":1.5}'},
                        "latency_ms": {"N": "1.5"},
                        "expires_at": {"N": "1803027600"},
                    }
                }
            }
        ]
    }
}


def serve(ready: Connection) -> None:
    """Answer one kept connection after the other with what its path calls for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready.send(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                answer_all(connection)


def answer_all(connection: socket.socket) -> None:
    received = b""
    while True:
        head, separator, rest = received.partition(b"\r\n\r\n")
        if separator:
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            if len(rest) >= length:
                received = rest[length:]
                path = head.split(b" ", 2)[1] + b" "
                body = next(text for start, text in ANSWERS.items() if path.startswith(start))
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                    b"x-amzn-RequestId: 0123456789abcdef\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\n\r\n%b"
                    % (len(body), body)
                )
                continue
        data = connection.recv(1 << 16)
        if not data:
            return
        received += data


def ours(environment: dict[str, str]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    from dropforge.adapters.sigv4_http_services import DynamoDbHttp, EndpointHttp  # noqa: PLC0415

    endpoint, dynamodb = EndpointHttp.from_env(environment), DynamoDbHttp.from_env(environment)
    return lambda: endpoint.invoke("model", BODY), lambda: dynamodb.call("BatchWriteItem", WRITE)


def theirs(environment: dict[str, str]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    options = {
        "endpoint_url": environment["AWS_ENDPOINT_URL"],
        "region_name": environment["AWS_REGION"],
        "aws_access_key_id": "bench",
        "aws_secret_access_key": "bench",
        "config": Config(proxies={}),
    }
    runtime: Any = boto3.client("sagemaker-runtime", **options)
    dynamodb: Any = boto3.client("dynamodb", **options)

    def invoke() -> bytes:
        answer = runtime.invoke_endpoint(
            EndpointName="model", ContentType="application/json", Accept="application/json", Body=BODY
        )
        body: bytes = answer["Body"].read()
        return body

    return invoke, lambda: dynamodb.batch_write_item(**WRITE)


def cpu_us(call: Callable[[], Any], calls: int) -> float:
    """This process's CPU microseconds per call."""
    started = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - started) / calls * 1e6


def measure(rounds: int, calls: int) -> dict[str, float]:
    """Median CPU microseconds per call of either client, and their ratios."""
    context = get_context("spawn")
    mine, its = context.Pipe()
    server = context.Process(target=serve, args=(its,), daemon=True)
    server.start()
    try:
        environment = {
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{mine.recv()}",
        }
        return compare(environment, rounds, calls)
    finally:
        server.kill()
        server.join()


def compare(environment: dict[str, str], rounds: int, calls: int) -> dict[str, float]:
    result: dict[str, float] = {}
    # The server has one connection at a time: each client makes its calls and closes.
    for index, name in enumerate(("invoke_endpoint", "batch_write_item")):
        found: dict[str, list[float]] = {"ours": [], "boto3": []}
        for _ in range(rounds):
            for kind, make in (("ours", ours), ("boto3", theirs)):
                call = make(environment)[index]
                cpu_us(call, 20)
                found[kind].append(cpu_us(call, calls))
                del call
        medians = {kind: statistics.median(times) for kind, times in found.items()}
        result |= {
            f"{name}_us": round(medians["ours"]),
            f"{name}_boto3_us": round(medians["boto3"]),
            f"{name}_ratio": round(medians["ours"] / medians["boto3"], 3),
        }
    return result


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench predict-cpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=500)
    options = parser.parse_args(arguments)
    os.environ.pop("AWS_PROFILE", None)
    found = measure(options.rounds, options.calls)
    print(json.dumps({"bench": "predict_cpu", "goal": GOAL, **found}))
    return kept(
        [
            at_most(f"CPU of {name}, us", found[f"{name}_us"], "boto3", found[f"{name}_boto3_us"], GOAL)
            for name in ("invoke_endpoint", "batch_write_item")
        ]
    )
