"""What Prometheus reads of the server: https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dropforge.domain.records import Live

# From a row of a compiled model to 500 of a slow one, in seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class ServerMetrics:
    """Requests by route and status, their time, refusals by type, and the version that answers."""

    def __init__(self, live: Live, *, is_logging: bool, registry: CollectorRegistry = REGISTRY) -> None:
        self._requests = Counter(
            "dropforge_requests", "Answered requests.", ("route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "dropforge_request_seconds",
            "Time from a request's last byte to its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "dropforge_errors", "Answers with an error, by error.type.", ("type",), registry=registry
        )
        Gauge(
            "dropforge_model_info",
            "Always 1: the exported version, its contract, and whether predictions are logged.",
            ("version", "run_id", "contract_hash", "logged"),
            registry=registry,
        ).labels(str(live.version), live.run_id, live.contract_hash, str(is_logging).lower()).set(1)

    def note(self, route: str, status: int, seconds: float, error: str | None = None) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if error is not None:
            self._errors.labels(error).inc()
