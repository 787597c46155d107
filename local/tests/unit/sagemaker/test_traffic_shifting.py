"""Who answers the next request, and in which steps traffic goes over."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from dropforge_local.sagemaker.deployment import Plan
from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.traffic import Traffic


@dataclass
class Server:
    ready: bool = True
    failed: bool = False
    in_flight: int = 0
    served: int = 0


@dataclass
class Variant:
    name: str
    weight: float = 1.0
    serverless: dict[str, Any] | None = None
    instances: list[Server] = field(default_factory=lambda: [Server()])

    @property
    def in_flight(self) -> int:
        return sum(server.in_flight for server in self.instances)


@dataclass
class Fleet:
    variants: list[Variant]


def asked(traffic: Traffic, count: int, target: str | None = None) -> Counter[str]:
    seen: Counter[str] = Counter()
    for _ in range(count):
        lease = traffic.acquire(target, 0)
        assert lease is not None
        seen[lease.variant.name] += 1
        traffic.release(lease)
    return seen


def route(*shares: tuple[Fleet, float]) -> Traffic:
    traffic = Traffic()
    traffic.route(*shares)  # type: ignore[arg-type]
    return traffic


def test_variants_get_their_weights() -> None:
    traffic = route((Fleet([Variant("a", 7.0), Variant("b", 2.0), Variant("c", 1.0)]), 1.0))
    assert asked(traffic, 100) == {"a": 70, "b": 20, "c": 10}


def test_fleets_get_their_shares() -> None:
    traffic = route((Fleet([Variant("old")]), 0.9), (Fleet([Variant("new")]), 0.1))
    assert asked(traffic, 50) == {"old": 45, "new": 5}


def test_variant_of_weight_zero_is_reached_by_name_only() -> None:
    traffic = route((Fleet([Variant("a"), Variant("b", 0.0)]), 1.0))
    assert asked(traffic, 5) == {"a": 5}
    assert asked(traffic, 5, "b") == {"b": 5}


def test_instance_that_is_not_ready_is_passed_over() -> None:
    traffic = route((Fleet([Variant("a", instances=[Server(ready=False)]), Variant("b")]), 1.0))
    assert asked(traffic, 5) == {"b": 5}


def test_least_busy_instance_is_next() -> None:
    busy, idle = Server(in_flight=3), Server()
    traffic = route((Fleet([Variant("a", instances=[busy, idle])]), 1.0))
    lease = traffic.acquire(None, 0)
    assert lease is not None
    assert lease.instance is idle  # type: ignore[comparison-overlap]


def test_idle_instances_take_turns() -> None:
    servers = [Server(), Server()]
    traffic = route((Fleet([Variant("a", instances=servers)]), 1.0))
    asked(traffic, 10)
    assert [server.served for server in servers] == [5, 5]


def test_request_waits_for_an_instance_that_is_starting() -> None:
    server = Server(ready=False)
    traffic = route((Fleet([Variant("a", instances=[server])]), 1.0))
    assert traffic.acquire(None, 0.01) is None

    def become_ready() -> None:
        with traffic.changed:
            server.ready = True
            traffic.changed.notify_all()

    timer = threading.Timer(0.05, become_ready)
    timer.start()
    assert traffic.acquire(None, 10) is not None
    timer.join()


def test_request_does_not_wait_for_instances_that_were_given_up() -> None:
    traffic = route((Fleet([Variant("a", instances=[Server(ready=False, failed=True)])]), 1.0))
    assert traffic.acquire(None, 60) is None


def test_serverless_variant_refuses_beyond_its_concurrency() -> None:
    traffic = route((Fleet([Variant("a", serverless={"MaxConcurrency": 1})]), 1.0))
    lease = traffic.acquire(None, 0)
    assert lease is not None
    with pytest.raises(ServiceError, match="ThrottlingException"):
        traffic.acquire(None, 0)
    traffic.release(lease)
    assert traffic.acquire(None, 0) is not None


def plan(kind: str, unit: str = "CAPACITY_PERCENT", value: int = 0) -> Plan:
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": 1}
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind)
    if member:
        routing[member] = {"Type": unit, "Value": value}
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    return Plan.of(config, lambda _: None)


@pytest.mark.parametrize(
    ("made", "instances", "shares"),
    [
        (Plan.of(None, lambda _: None), 3, [1.0]),
        (plan("ALL_AT_ONCE"), 3, [1.0]),
        (plan("CANARY", value=10), 3, [0.1, 1.0]),
        (plan("CANARY", "INSTANCE_COUNT", 1), 4, [0.25, 1.0]),
        (plan("LINEAR", value=25), 1, [0.25, 0.5, 0.75, 1.0]),
        (plan("LINEAR", value=30), 1, [0.3, 0.6, 0.9, 1.0]),
        (plan("LINEAR", "INSTANCE_COUNT", 2), 4, [0.5, 1.0]),
        (plan("LINEAR", "INSTANCE_COUNT", 9), 4, [1.0]),
    ],
)
def test_shares_of_the_new_fleet(made: Plan, instances: int, shares: list[float]) -> None:
    assert made.shares(instances) == pytest.approx(shares)


@pytest.mark.parametrize(("kind", "value"), [("CANARY", 51), ("LINEAR", 51), ("LINEAR", 9)])
def test_sizes_that_sagemaker_refuses_are_refused(kind: str, value: int) -> None:
    with pytest.raises(ServiceError, match="percent"):
        plan(kind, value=value)


def test_size_is_required() -> None:
    with pytest.raises(ServiceError, match="CanarySize is required"):
        Plan.of(
            {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 0}
                }
            },
            lambda _: None,
        )
