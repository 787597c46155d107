"""What a model answers that was taken out of dropforge: each way and kind of value beside its own answers.

    python -m bench elsewhere [--write]

Trains the models that `build_model` chooses from, by the training job itself, and takes each out by every way
that practitioners use, in an environment of pinned versions. Compared are the scores for rows of the
hold-out, for the same with missing values and with unseen categories, for values just on either side of a
split, where single precision shows, and for a row alone beside the same row in a batch. ``--write`` puts the
table into docs/how-to/take-a-model-elsewhere.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tests.unit.training.job_folders import mixed, run_job, write_job

from bench.environments import PACKAGES, ROOT, python_of, run
from bench.record import Result, kept
from dropforge.domain.compiled import Compiled
from dropforge.domain.contract import Contract
from dropforge.domain.encoding import Encoding, matrix_columns
from dropforge.domain.tree_form import TreeForm

Matrix = NDArray[np.float64]
PAGE = ROOT / "docs" / "how-to" / "take-a-model-elsewhere.md"
BEGIN, END = "<!-- python -m bench elsewhere --write -->", "<!-- end -->"
ROWS = 4_000
SAME = 1e-9
"""What a compiled form may differ by from its estimator, too."""
NUMBERS = ("amount", "visits", "member")
KINDS = {
    "boosted, numbers": ("boosted", NUMBERS),
    "boosted, categories too": ("boosted", None),
    "linear": ("linear", None),
}
WAYS = {
    "`compiled.npz`, numpy alone": ("compiled", "numpy-alone"),
    "`model.joblib`, the same scikit-learn": ("pickled", "elsewhere"),
    "`model.joblib`, a newer one": ("pickled", "scikit-learn-newer"),
    "`model.joblib`, an older one": ("pickled", "scikit-learn-older"),
    "skops": ("skops", "elsewhere"),
    "ONNX by skl2onnx": ("onnx", "elsewhere"),
    "treelite": ("treelite", "elsewhere"),
}
CASES = ("hold-out rows", "missing values", "unseen categories", "beside a split", "alone")


def fitted(folder: Path, estimator: str, features: tuple[str, ...] | None) -> Path:
    """Train by the job itself; returns the model's folder."""
    contract, frame = mixed(ROWS)
    if features is not None:
        kept_columns = tuple(
            each for each in contract.columns if each.role != "feature" or each.name in features
        )
        contract = Contract(contract.target, contract.key, contract.task, contract.classes, kept_columns)
    root = write_job(folder, contract, frame, {"metric": "auto", "seed": "0", "estimator": estimator})
    done = run_job(root)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return root / "model"


def cases(model: Path, holdout: Path) -> dict[str, Matrix]:
    """The matrices to compare on, as the archive's own encoding makes them."""
    contract = Contract.from_json((model / "contract.json").read_bytes())
    encoding = Encoding.from_json((model / "encoding.json").read_bytes(), contract)
    rows = encoding.encode(_arrays(pd.read_parquet(holdout), contract))
    columns = matrix_columns(contract)
    random = np.random.default_rng(1)
    found = {
        "hold-out rows": rows,
        "missing values": np.where(random.random(rows.shape) < 1 / 3, np.nan, rows),
    }
    codes = [place for place, column in enumerate(columns) if column.kind == "categorical"]
    if codes:
        unseen = rows.copy()
        unseen[:, codes] = [len(encoding.vocabularies[columns[place].source]) for place in codes]
        found["unseen categories"] = unseen
    form = Compiled.read(model / "compiled.npz").form
    if isinstance(form, TreeForm):
        found["beside a split"] = beside_splits(form, rows)
    return found


def scores(model: Path, rows: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """The probability of the second class, as every way of serving answers it."""
    score = Compiled.read(model / "compiled.npz").scorer(2)
    return {name: score(matrix)[:, 1] for name, matrix in rows.items()}


def beside_splits(form: TreeForm, rows: Matrix) -> Matrix:
    """Rows whose numbers are the bound of a split, or the next float64 above it, which goes the other way."""
    random, found = np.random.default_rng(2), rows.copy()
    starts = np.concatenate([[0], np.cumsum(form.edge_counts)])
    for place, column in enumerate(form.columns.tolist()):
        edges = form.edges[starts[place] : starts[place + 1]]
        if len(edges) and not form.categorical[place]:
            chosen = random.choice(edges, len(rows))
            found[:, column] = np.where(random.random(len(rows)) < 0.5, chosen, np.nextafter(chosen, np.inf))
    return found


def _arrays(frame: pd.DataFrame, contract: Contract) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for feature in contract.features:
        column = frame[feature.name]
        if feature.type == "category":
            found[feature.name] = column.astype(object).where(column.notna(), None).to_numpy()
        elif feature.type == "timestamp":
            microseconds = column.astype("datetime64[us, UTC]").astype("int64").astype(float)
            found[feature.name] = microseconds.where(column.notna(), np.nan).to_numpy()
        else:
            found[feature.name] = column.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return found


def rendered(table: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """The table in Markdown: a row per way and model."""
    lines = [f"| way | model | {' | '.join(CASES)} |", f"|---|---|{'---|' * len(CASES)}"]
    for (way, kind), found in table.items():
        if "raised" in found:
            cells = [f"refused: `{found['raised'].replace('|', ' ')}`", *[""] * (len(CASES) - 1)]
        else:
            cells = [_figure(found[case]) if case in found else "–" for case in CASES]
        lines.append(f"| {way} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(difference: float) -> str:
    return "the same" if difference <= SAME else f"{difference:.1g} off"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench elsewhere", description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args(arguments)
    table: dict[tuple[str, str], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-elsewhere-") as parent:
        for number, (kind, (estimator, features)) in enumerate(KINDS.items()):
            model = fitted(Path(parent) / str(number), estimator, features)
            rows = cases(model, model.parent / "input" / "data" / "test" / "part-00000.parquet")
            file = Path(parent) / f"{number}.npz"
            answers = scores(model, rows)
            np.savez(
                file,
                allow_pickle=False,
                **{f"rows {name}": matrix for name, matrix in rows.items()},
                **{f"scores {name}": each for name, each in answers.items()},
            )
            for way, (route, peer) in WAYS.items():
                script = ROOT / "bench" / "peers" / "elsewhere.py"
                command = [python_of(peer), str(script), str(model), str(file), route]
                # The archive's own code, not the checkout's.
                table[way, kind] = run(command, {0}, {"PYTHONPATH": str(model / "code")})
    ordered = {(way, kind): table[way, kind] for way in WAYS for kind in KINDS}
    print(rendered(ordered))
    for peer in dict.fromkeys(peer for _, peer in WAYS.values()):
        print(f"{peer}: {', '.join(PACKAGES[peer])}")
    if asked.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        versions = ", ".join(sorted({package for _, peer in WAYS.values() for package in PACKAGES[peer]}))
        table_and_versions = f"{rendered(ordered)}\n\nVersions: {versions}."
        PAGE.write_text(
            f"{before}{BEGIN}\n\n{table_and_versions}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8"
        )
    own = [ordered[way, kind] for way in list(WAYS)[:2] for kind in KINDS]
    largest = max(max(found.values()) if "raised" not in found else np.inf for found in own)
    goal = f"<= {SAME:g} by numpy alone, and by the same scikit-learn"
    return kept([Result.alone("elsewhere: own forms", largest, goal, largest <= SAME)])


if __name__ == "__main__":
    raise SystemExit(main())
