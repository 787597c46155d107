"""What tests of several folders share."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def ten_fold(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str], tuple[float, float]]:
    """What `tests.cross_validation.ten_fold` returns, computed by one process for all of them."""
    own = tmp_path_factory.getbasetemp()
    folder = own if worker_id == "master" else own.parent

    def computed_once(sample: str) -> tuple[float, float]:
        from tests import cross_validation  # most tests do without scikit-learn, which takes seconds to load

        with (folder / f"ten-fold-{sample}.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            if text:
                mean, deviation = json.loads(text)
            else:
                mean, deviation = cross_validation.ten_fold(sample)
                file.write(json.dumps([mean, deviation]))
        return mean, deviation

    return computed_once
