"""Blue/green: a new fleet beside the old one, traffic shifted in steps, back at the first alarm."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.errors import validation
from dropforge_local.sagemaker.fleet import Fleet, FleetFailure
from dropforge_local.sagemaker.instance import drain, stop_all
from dropforge_local.sagemaker.objects import Interrupted
from dropforge_local.sagemaker.traffic import Traffic

logger = logging.getLogger(__name__)

_MAX_STEP_PERCENT = 50  # CanarySize and LinearStepSize: at most half of the fleet
_MIN_LINEAR_PERCENT = 10  # LinearStepSize: at least a tenth
_DEFAULT_MAX_S = 28_800.0  # MaximumExecutionTimeoutInSeconds: 8 hours at most

_NO_FLEET = "The endpoint has no fleet in service."


@dataclass(frozen=True)
class Plan:
    """How traffic goes over: the new fleet's shares in turn, and what takes it back.

    ``steps`` are fractions in (0, 1], the last one 1; after each one the alarms are watched for
    ``wait_s`` seconds. Then the old fleet is kept ``termination_wait_s`` seconds more.
    """

    steps: tuple[tuple[str, float], ...]  # (CAPACITY_PERCENT | INSTANCE_COUNT, value); see `shares`
    wait_s: float
    termination_wait_s: float
    max_s: float
    alarms: tuple[str, ...]
    alarm_state: Callable[[str], str | None]

    @classmethod
    def of(cls, config: dict[str, Any] | None, alarm_state: Callable[[str], str | None]) -> Plan:
        """Read a DeploymentConfig; without one all traffic goes over at once.

        Raises:
            ServiceError: sizes that SageMaker refuses.
        """
        policy = (config or {}).get("BlueGreenUpdatePolicy") or {}
        routing = policy.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE"}
        kind = routing["Type"]
        steps: tuple[tuple[str, float], ...] = (("CAPACITY_PERCENT", 100.0),)
        if kind == "CANARY":
            size = _size(routing, "CanarySize")
            steps = (size, *steps)
        elif kind == "LINEAR":
            size = _size(routing, "LinearStepSize")
            if size[0] == "CAPACITY_PERCENT" and size[1] < _MIN_LINEAR_PERCENT:
                raise validation(f"LinearStepSize must be at least {_MIN_LINEAR_PERCENT} percent.")
            steps = (size,)
        alarms = (config or {}).get("AutoRollbackConfiguration", {}).get("Alarms", [])
        return cls(
            steps=steps,
            wait_s=float(routing.get("WaitIntervalInSeconds", 0)),
            termination_wait_s=float(policy.get("TerminationWaitInSeconds", 0)),
            max_s=float(policy.get("MaximumExecutionTimeoutInSeconds", _DEFAULT_MAX_S)),
            alarms=tuple(alarm["AlarmName"] for alarm in alarms),
            alarm_state=alarm_state,
        )

    def shares(self, instances: int) -> list[float]:
        """The new fleet's shares of the traffic, in turn, for a fleet of so many instances."""
        fractions = [
            min(value / 100 if unit == "CAPACITY_PERCENT" else value / max(instances, 1), 1.0)
            for unit, value in self.steps
        ]
        if len(fractions) == 1 and fractions[0] < 1.0:  # LINEAR: the same step again until all is over
            step = fractions[0]
            count = math.ceil(1.0 / step - 1e-9)
            return [min(step * (index + 1), 1.0) for index in range(count)]
        return fractions

    def check_alarms(self) -> None:
        """Raise ``FleetFailure`` when an alarm is in ALARM."""
        ringing = [name for name in self.alarms if self.alarm_state(name) == "ALARM"]
        if ringing:
            raise FleetFailure(
                f"The deployment was rolled back because the CloudWatch alarm {', '.join(ringing)} is in "
                "the ALARM state."
            )


def _size(routing: dict[str, Any], member: str) -> tuple[str, float]:
    size = routing.get(member)
    if size is None:
        raise validation(f"{member} is required for traffic routing {routing['Type']}.")
    if size["Type"] == "CAPACITY_PERCENT" and size["Value"] > _MAX_STEP_PERCENT:
        raise validation(f"{member} must be at most {_MAX_STEP_PERCENT} percent of the capacity.")
    return size["Type"], float(size["Value"])


class Deployment:
    """The fleets of one endpoint and the traffic to them. One step at a time."""

    def __init__(self, context: Context, endpoint: str, folder: Path) -> None:
        self.traffic = Traffic()
        self._context = context
        self._endpoint = endpoint
        self._folder = folder / endpoint.lower()
        self._current: Fleet | None = None
        self._beside: Fleet | None = None
        self._abandoned = threading.Event()
        self._one_at_a_time = threading.Lock()

    @property
    def fleet(self) -> Fleet | None:
        """The fleet in service; None before the first one is, and after the last."""
        return self._current

    def doing(self, step: Callable[[], None]) -> None:
        """Carry out a step after those before it; one that the host's end interrupts leaves no trace."""
        with self._one_at_a_time:
            try:
                self._check()
                step()
            except Interrupted:
                return

    def abandon(self) -> None:
        """The host stops: give up waiting."""
        self._abandoned.set()
        with self.traffic.changed:
            self.traffic.changed.notify_all()

    def stop(self, *, keep_files: bool) -> None:
        """End all servers."""
        self.traffic.route()
        for fleet in (self._current, self._beside):
            if fleet is not None:
                fleet.stop(keep_files=keep_files)
        self._current = self._beside = None

    def bring_up(self, snapshot: dict[str, Any], capacity_error: str | None) -> str | None:
        """The endpoint's first fleet; returns why it failed, or None."""
        fleet = self._beside = self._fleet(snapshot)

        def steps() -> None:
            _check_capacity(capacity_error)
            fleet.launch(self._check)
            fleet.await_health(self._check)

        reason = _reason_of_failure(steps)
        self._beside = None
        if reason is not None:
            fleet.stop()
            return reason
        self._current = fleet
        self.traffic.route((fleet, 1.0))
        return None

    def attach(self, snapshot: dict[str, Any]) -> None:
        """Let requests wait for the fleet that `revive` brings back after the host's restart."""
        self._current = self._fleet(snapshot)
        self.traffic.route((self._current, 1.0))

    def revive(self) -> str | None:
        """Bring the attached fleet back. Returns why it failed."""
        fleet = self._current
        if fleet is None:
            return _NO_FLEET

        def steps() -> None:
            fleet.launch(self._check)
            fleet.await_health(self._check)

        reason = _reason_of_failure(steps)
        if reason is not None:
            self.traffic.route()
            fleet.stop(keep_files=True)
        return reason

    def replace(self, snapshot: dict[str, Any], plan: Plan, capacity_error: str | None) -> str | None:
        """Move to a new fleet as planned; returns why traffic is back on the old one, or None."""
        old, new = self._current, self._fleet(snapshot)
        deadline = time.monotonic() + plan.max_s
        self._beside = new

        def steps() -> None:
            plan.check_alarms()
            _check_capacity(capacity_error)
            new.launch(self._check)
            new.await_health(self._check)
            self._shift(old, new, plan, deadline)

        reason = _reason_of_failure(steps)
        if reason is not None:
            self.traffic.route(*([] if old is None else [(old, 1.0)]))
            self._retire(new)
        else:
            self._current, self._beside = new, old
            if old is not None:
                self._retire(old)
        self._beside = None
        return reason

    def rescale(self, snapshot: dict[str, Any]) -> str | None:
        """Give the fleet's variants new weights and instance counts; returns why that failed, or None."""
        fleet = self._current
        if fleet is None:
            return _NO_FLEET
        settings = {variant["VariantName"]: variant for variant in snapshot["ProductionVariants"]}

        def steps() -> None:
            for variant in fleet.variants:
                wish = settings[variant.name]
                variant.serverless = wish.get("ServerlessConfig")
                if variant.serverless is None:
                    variant.wanted = wish["InitialInstanceCount"]
                surplus = variant.remove_surplus()
                drain(surplus, self.traffic.changed, self._context.limits.drain_s)
                stop_all(surplus)
                variant.launch()
            fleet.await_health(self._check)

        reason = _reason_of_failure(steps)
        if reason is None:
            for variant in fleet.variants:
                variant.weight = settings[variant.name]["InitialVariantWeight"]
            self.traffic.route((fleet, 1.0))
        return reason

    def close(self) -> None:
        """Take the endpoint out of service and end its servers."""
        self.traffic.route()
        for fleet in (self._current, self._beside):
            if fleet is not None:
                self._retire(fleet)
        self._current = self._beside = None

    def _shift(self, old: Fleet | None, new: Fleet, plan: Plan, deadline: float) -> None:
        instances = sum(variant.wanted for variant in new.variants)
        for share in plan.shares(instances):
            rest = [] if old is None or share >= 1.0 else [(old, 1.0 - share)]
            self.traffic.route((new, share), *rest)
            self._watch(new, plan, plan.wait_s, deadline)
        self._watch(new, plan, plan.termination_wait_s, deadline)

    def _watch(self, new: Fleet, plan: Plan, seconds: float, deadline: float) -> None:
        """Wait, and fail on an alarm, on a dead instance, or when the deployment takes too long."""
        end = time.monotonic() + seconds
        while True:
            self._check()
            plan.check_alarms()
            if any(instance.failed for variant in new.variants for instance in variant.instances):
                raise FleetFailure("An instance of the new fleet ended during the deployment.")
            now = time.monotonic()
            if now >= deadline and now < end:
                raise FleetFailure("The deployment exceeded MaximumExecutionTimeoutInSeconds.")
            if now >= end:
                return
            self._abandoned.wait(min(end - now, self._context.limits.alarm_poll_s))

    def _retire(self, fleet: Fleet) -> None:
        instances = [instance for variant in fleet.variants for instance in variant.instances]
        drain(instances, self.traffic.changed, self._context.limits.drain_s)
        fleet.stop()

    def _fleet(self, snapshot: dict[str, Any]) -> Fleet:
        folder = self._folder / snapshot["_Fleet"]
        return Fleet(self._context, self._endpoint, folder, snapshot, self.traffic.changed)

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise Interrupted


def _reason_of_failure(steps: Callable[[], None]) -> str | None:
    """Why the steps failed, fit for a FailureReason, or None. ``Interrupted`` is passed on.

    Whatever goes wrong, in the host too, has to end in a state that the endpoint can go on from.
    """
    try:
        steps()
    except FleetFailure as failure:
        return str(failure)
    except Interrupted:
        raise
    except Exception:
        logger.exception("a deployment broke inside the host")
        return "Request to service failed. An internal error occurred; try again."
    return None


def _check_capacity(error: str | None) -> None:
    if error is not None:
        raise FleetFailure(
            "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
            f"{error}"
        )
