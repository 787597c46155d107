from __future__ import annotations

from pathlib import Path

import pytest
import threadpoolctl  # type: ignore[import-untyped]
from tests.unit.training.job_folders import builtin, mixed, run_job, write_job


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """Return a function from a data set's name to the folders of a job that was run on it, once each."""
    finished: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in finished:
            root = tmp_path_factory.mktemp(name)
            contract, frame = mixed() if name == "mixed" else builtin(name)
            result = run_job(write_job(root, contract, frame), DROPFORGE_RUN_ID="run-1")
            assert result.returncode == 0, result.stderr
            (root / "stdout").write_text(result.stdout)
            finished[name] = root
        return finished[name]

    return run


@pytest.fixture(autouse=True)
def _one_thread():
    """Fit with one thread: OpenMP's threads spin while they wait, for minutes on a busy machine."""
    import sklearn.ensemble  # noqa: F401 - only loaded libraries can be limited

    with threadpoolctl.threadpool_limits(1):
        yield
