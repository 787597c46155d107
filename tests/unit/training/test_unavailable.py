"""Training does without pandas, which scikit-learn would import; a model of one's own can still use it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.unit.training.job_folders import TRAINING

from unavailable import unavailable

TRAINED = """
import sys
sys.path.insert(0, sys.argv[1])
from unavailable import unavailable
with unavailable("pandas"):
    import job
import numpy as np
from dropforge.domain.contract import Column, Contract
from model import build_model

random = np.random.default_rng(1)
matrix = np.column_stack([random.normal(size=600), random.integers(0, 5, 600)])
target = (matrix[:, 0] ** 2 + matrix[:, 1] > 2).astype(int)
columns = Column("n", "number"), Column("c", "category"), Column("y", "category", "target")
contract = Contract("y", None, "binary", ("no", "yes"), columns)
model = build_model(contract, {"max_iter": 20}).fit(matrix, target, matrix[:100], target[:100])
model.fit_final(matrix, target)
print(model.selected_, "pandas" in sys.modules)
import pandas
print(pandas.DataFrame({"a": [1]}).a.sum())
"""


def test_the_default_model_is_trained_without_pandas_which_can_be_imported_later():
    command = [sys.executable, "-c", TRAINED, str(TRAINING)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["boosted", "False", "1"], done.stderr


def test_a_library_is_unavailable_for_a_while_alone(tmp_path, monkeypatch):
    (tmp_path / "seldom_there.py").write_text("value = 7")
    monkeypatch.syspath_prepend(tmp_path)
    with unavailable("seldom_there"), pytest.raises(ImportError):
        import seldom_there
    import seldom_there

    assert seldom_there.value == 7
    with unavailable("seldom_there"):
        import seldom_there
