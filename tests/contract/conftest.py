"""Keeps the walks of the contract tests where ``make record`` asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contract.state_machine import OBSERVED


@pytest.fixture(scope="session", autouse=True)
def _kept() -> Iterator[None]:
    yield
    OBSERVED.save()
