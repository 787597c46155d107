"""A real SageMaker service behind real boto3 clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sagemaker_host import Host, Server

from dropforge_local.sagemaker import service as service_module
from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.service import Limits, SageMaker


class _Image(Image):
    def load_libraries(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading libraries ahead takes longer than a test does; test_forked_containers.py loads its own."""
    monkeypatch.setattr(service_module, "Image", _Image)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "s3")


@pytest.fixture
def limits() -> Limits:
    return Limits(
        stop_grace_s=1.0,
        health_check_s=20.0,
        serverless_health_check_s=20.0,
        drain_s=5.0,
        alarm_poll_s=0.05,
        boot_attempts=1,
        restart_backoff_s=0.05,
        checkpoint_interval_s=0.1,
        storage_retry_s=5.0,
        log_flush_s=0.05,
    )


@pytest.fixture
def service(tmp_path: Path, host: Host, limits: Limits) -> Iterator[SageMaker]:
    made = SageMaker(tmp_path / "state", host.ports(), limits=limits)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(service: SageMaker) -> Iterator[Server]:
    made = Server(service)
    yield made
    made.close()


@pytest.fixture
def sagemaker(server: Server) -> Any:
    return server.client("sagemaker")


@pytest.fixture
def runtime(server: Server) -> Any:
    return server.client("sagemaker-runtime")
