from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Threads of BLAS wait for each other in small products; tests that run at once would stall."""
    with threadpool_limits(1):
        yield
