"""Runs one contestant of `bench.training` and prints what it took as JSON.

    python -m bench.training_job {run,bare} ROOT

``run`` is the job in ROOT by its own code; ``bare`` is scikit-learn's boosting on ROOT's matrix, of which the
call of ``fit`` alone is timed. The AUC is that of the hold-out.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from dropforge.domain.metrics import Scored


def run_job(root: Path) -> dict[str, Any]:
    # A child inherits the peak memory of whoever starts it: this process loads little.
    program = root / "input" / "data" / "code" / "train.py"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "ML_ROOT": str(root), "PYTHONPATH": ""},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with np.load(root / "output" / "data" / "holdout.npz") as arrays:
        auc = Scored("binary", arrays["target"], arrays["candidate"]).value("auc")
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / 1024,
        "auc": auc,
    }


def fit_engine(root: Path) -> dict[str, Any]:
    sys.path.insert(0, str(root / "input" / "data" / "code"))
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - not where a job is run

    from dropforge.domain.contract import Contract  # noqa: PLC0415
    from dropforge.domain.encoding import Encoding, matrix_columns  # noqa: PLC0415
    from folders import Folders  # noqa: PLC0415
    from splits import Rows, read_splits  # noqa: PLC0415

    contract = Contract.from_json((root / "input" / "data" / "contract" / "schema.json").read_bytes())
    splits = read_splits(Folders(root), contract)
    encoding = Encoding.learn(contract, (each for split in splits for each in split.batches(["category"])))
    training, validation, test = (np.asarray(Rows(encoding, [split])) for split in splits)
    categorical = np.array([column.kind == "categorical" for column in matrix_columns(contract)])
    engine = HistGradientBoostingClassifier(
        max_iter=500,
        random_state=0,
        early_stopping=True,
        n_iter_no_change=15,
        categorical_features=categorical if categorical.any() else None,
    )
    began, used = time.perf_counter(), time.process_time()
    engine.fit(training, splits[0].target, X_val=validation, y_val=splits[1].target)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "auc": Scored("binary", splits[2].target, engine.predict_proba(test)).value("auc"),
    }


if __name__ == "__main__":
    print(json.dumps({"run": run_job, "bare": fit_engine}[sys.argv[1]](Path(sys.argv[2]))))
