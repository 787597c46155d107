"""Runs in an environment of its own: how far a model that was taken elsewhere is from what dropforge answers.

Reads a model's folder and a file of cases with the scores that dropforge gives; prints the largest difference
per case and of a row alone from the same row in a batch, or what was raised.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Scorer = Callable[[np.ndarray], np.ndarray]
ROWS_ALONE = 200


def compiled(folder: Path) -> Scorer:
    """The compiled form, by the code that the archive brings and numpy alone."""
    from dropforge.domain.compiled import Compiled

    score = Compiled.read(folder / "compiled.npz").scorer(2)
    return lambda rows: score(rows)[:, 1]


def pickled(folder: Path) -> Scorer:
    """The pickled estimator, in the environment's version of scikit-learn."""
    return lambda rows: _estimator(folder).predict_proba(rows)[:, 1]


def skops(folder: Path) -> Scorer:
    """The estimator by skops, every type that it names having been looked at and trusted."""
    import skops.io

    content = skops.io.dumps(_estimator(folder))
    again = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    return lambda rows: again.predict_proba(rows)[:, 1]


def onnx(folder: Path) -> Scorer:
    """What skl2onnx makes of the estimator, on float32, which is all that it has for trees."""
    import onnxruntime
    import skl2onnx

    onnxruntime.set_default_logger_severity(3)
    estimator, columns = _plain(folder)
    width = np.zeros((1, len(columns)), dtype=np.float32)
    converted = skl2onnx.to_onnx(estimator, width, options={"zipmap": False})
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"X": rows[:, columns].astype(np.float32)})[1][:, 1]


def treelite(folder: Path) -> Scorer:
    """What treelite makes of the trees, by its own interpreter."""
    import treelite

    estimator, columns = _plain(folder)
    model = treelite.sklearn.import_model(estimator)
    return lambda rows: treelite.gtil.predict(model, rows[:, columns]).reshape(len(rows), -1)[:, -1]


ROUTES = {each.__name__: each for each in (compiled, pickled, skops, onnx, treelite)}


def _estimator(folder: Path) -> Any:
    import joblib

    return joblib.load(io.BytesIO((folder / "model.joblib").read_bytes()))


def _plain(folder: Path) -> tuple[Any, np.ndarray]:
    """What is inside the estimator that chose: scikit-learn's own, with the matrix columns that it reads."""
    inside = _estimator(folder).best_
    if hasattr(inside, "columns"):
        return inside.estimator, inside.columns
    return inside, np.arange(_estimator(folder).n_features_in_)


def main(folder: Path, cases: Path, route: str) -> dict[str, Any]:
    """Return the differences per case, or ``raised``."""
    try:
        score = ROUTES[route](folder)
        with np.load(cases, allow_pickle=False) as known:
            names = [name.removeprefix("rows ") for name in known.files if name.startswith("rows ")]
            found = {
                name: float(np.abs(score(known[f"rows {name}"]) - known[f"scores {name}"]).max())
                for name in names
            }
            some = known[f"rows {names[0]}"][:ROWS_ALONE]
        alone = np.concatenate([score(some[n : n + 1]) for n in range(len(some))])
        return {**found, "alone": float(np.abs(alone - score(some)).max())}
    except Exception as error:  # whatever a library says of a model that it doesn't take
        return {"raised": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.argv[1]) / "code"))
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
