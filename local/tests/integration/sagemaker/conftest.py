"""A real SageMaker service behind real boto3 clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sagemaker_host import Host, Server, image_in

from dropforge_local.sagemaker import service as service_module
from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.service import Limits, SageMaker


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """An image whose libraries are loaded: its containers are forked."""
    image = image_in(tmp_path_factory.mktemp("image"))
    image.load_libraries()
    assert image.libraries.wait(60)
    yield image
    image.close()


@pytest.fixture(autouse=True)
def _libraries_of_all_services(loaded: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service has its own image, but loading libraries for each takes longer than most tests do."""

    class Shared(Image):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.libraries = loaded.libraries

        def load_libraries(self) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(service_module, "Image", Shared)


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
