"""Which instance answers the next request."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.fleet import Fleet, Variant
from dropforge_local.sagemaker.instance import Instance


@dataclass
class _Share:
    """A variant of a fleet in the rotation: its part of the traffic and its running balance."""

    variant: Variant
    fleet_share: float
    balance: float = 0.0

    @property
    def weight(self) -> float:
        return self.fleet_share * self.variant.weight


@dataclass(frozen=True)
class Lease:
    """One request's hold on an instance; give it back with ``Traffic.release``."""

    variant: Variant
    instance: Instance


class Traffic:
    """The rotation of one endpoint: fleets with their shares, variants with their weights.

    A smooth weighted round robin: over any stretch of requests each variant gets its share, exactly. Within a
    variant the instance with the fewest open requests is next, among equals the one that served least.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._shares: list[_Share] = []

    def route(self, *fleets: tuple[Fleet, float]) -> None:
        """Send the requests from now on to these fleets, each getting its share; in one step."""
        with self.changed:
            self._shares = [
                _Share(variant, share) for fleet, share in fleets if share > 0 for variant in fleet.variants
            ]
            self.changed.notify_all()

    def acquire(self, target_variant: str | None, timeout_s: float) -> Lease | None:
        """An instance for one request, waiting for one that is ready; None when none is within the time.

        Raises:
            ServiceError: no such variant, or a serverless variant is at its MaxConcurrency.
        """
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while True:
                shares = self._candidates(target_variant)
                ready = [share for share in shares if any(i.ready for i in share.variant.instances)]
                if ready:
                    return self._lease(ready, targeted=target_variant is not None)
                remaining = deadline - time.monotonic()
                # Right after the host's start there are none yet.
                instances = [instance for share in shares for instance in share.variant.instances]
                hopeless = bool(instances) and all(instance.failed for instance in instances)
                if remaining <= 0 or not shares or hopeless:
                    return None
                self.changed.wait(remaining)

    def release(self, lease: Lease) -> None:
        """End a lease."""
        with self.changed:
            lease.instance.in_flight -= 1
            self.changed.notify_all()

    @property
    def open(self) -> bool:
        """Whether any fleet is in the rotation."""
        with self.changed:
            return bool(self._shares)

    def _candidates(self, target: str | None) -> list[_Share]:
        if target is None:
            return [share for share in self._shares if share.weight > 0]
        shares = [share for share in self._shares if share.variant.name == target]
        if self._shares and not shares:
            raise ServiceError("ValidationError", f"Variant {target} was not found in the endpoint.")
        return shares

    def _lease(self, ready: list[_Share], *, targeted: bool) -> Lease:
        total = 0.0
        for share in ready:
            weight = share.fleet_share if targeted else share.weight
            share.balance += weight
            total += weight
        chosen = max(ready, key=lambda share: share.balance)
        chosen.balance -= total
        variant = chosen.variant
        if variant.serverless and variant.in_flight >= variant.serverless["MaxConcurrency"]:
            raise ServiceError(
                "ThrottlingException", "Rate exceeded: the endpoint's MaxConcurrency is reached.", 429
            )
        idlest = min((i for i in variant.instances if i.ready), key=lambda i: (i.in_flight, i.served))
        idlest.in_flight += 1
        idlest.served += 1
        return Lease(variant, idlest)
