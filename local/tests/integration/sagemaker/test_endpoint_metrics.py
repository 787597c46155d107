"""An endpoint counts its requests as CloudWatch's namespace AWS/SageMaker does."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import Host, add_endpoint, ask


def test_an_endpoint_counts_its_requests_and_what_failed_of_them(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    ask(runtime)
    for body in (b"status", b"raise", b"exit"):
        with pytest.raises(ClientError):
            ask(runtime, body=body)
    dimensions = {("EndpointName", "ep"), ("VariantName", "AllTraffic")}
    assert {(unit, frozenset(at.items())) for _, _, unit, at in host.metrics} == {
        ("None", frozenset(dimensions)),
        ("Microseconds", frozenset(dimensions)),
    }
    values = {
        name: [value for found, value, _, _ in host.metrics if found == name]
        for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
    }
    assert values == {
        "Invocations": [1, 1, 1, 1],
        "Invocation4XXErrors": [0, 1, 0, 0],
        "Invocation5XXErrors": [0, 0, 1, 1],
    }
    assert all(value > 0 for name, value, _, _ in host.metrics if name == "ModelLatency")
