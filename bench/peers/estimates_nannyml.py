"""Runs in an environment of its own: NannyML's estimates before outcomes (CBPE, DLE), with its defaults."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import nannyml
import pandas as pd


def _estimator(task: dict[str, Any], rows: int) -> Any:
    if task["kind"] == "regression":
        return nannyml.DLE(
            feature_column_names=task["features"],
            y_pred="called",
            y_true="target",
            metrics=[task["metric"]],
            chunk_size=rows,
        )
    scores = task["scores"]
    return nannyml.CBPE(
        y_pred_proba=scores["1"] if task["kind"] == "classification_binary" else scores,
        y_pred="called",
        y_true="target",
        problem_type=task["kind"],
        metrics=[task["metric"]],
        chunk_size=rows,
    )


def main(folder: Path) -> None:
    """Print ``{"values": by world and window, "alerts": likewise}``.

    Each world has a table of the hold-out and one of all of its windows, one after the other.
    """
    task = json.loads((folder / "task.json").read_text())
    values, alerts = [], []
    for base in sorted(folder.glob("holdout-*.parquet")):
        held = pd.read_parquet(base)
        windows = pd.read_parquet(folder / base.name.replace("holdout", "windows"))
        found = _estimator(task, task["rows"]).fit(held).estimate(windows).to_df()
        found = found[found["chunk", "period"] == "analysis"][task["metric"]]
        values.append([float(each) for each in found["value"]])
        alerts.append([bool(each) for each in found["alert"]])
    print(json.dumps({"values": values, "alerts": alerts}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
