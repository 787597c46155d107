"""Tries ``model.py`` before it is deployed: a whole training job on a tiny table that is made up.

    python training/check_model.py [--contract FILE] [--task TASK] [--hyperparameters JSON]
                                   [--tuning-trials N] [--instances N]

With a contract the table has its columns. Without one there is a table per task (or of that task alone), and
a model that is meant for one task passes if it does that one. Exit 1: standard error says what is wrong, with
the line of ``model.py`` where that is known.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # has to be set before scikit-learn is loaded

import numpy as np

import own_libraries
import wheels
from dropforge.domain.contract import GROUP_KEY, ROW_KEY, Column, Contract
from dropforge.domain.errors import NotDistributed, TuningFailed, UnusableEstimator, UnusableLibrary
from dropforge.domain.hyperparameters import parse_hyperparameters
from folders import Folders

if TYPE_CHECKING:
    import pyarrow

ROWS = {"train": 120, "validation": 40, "test": 40}
ROWS_PER_CLASS = 4
TRIALS = 2
"""Of a search, where the stack makes one."""

ROWS_PER_GROUP = 2
MISSING = 0.1
"""Share of the values that are missing in columns that may lack some."""

_WORDS = ("early", "late", "fine", "broken", "asked", "again")

CLASSES = {"binary": ("no", "yes"), "multiclass": ("high", "low", "middle"), "regression": None}
NEVER_USABLE = UnusableEstimator, UnusableLibrary, NotDistributed
"""What no task excuses."""

MODEL = Path(__file__).resolve().parent / "model.py"


def contract_of(task: str) -> Contract:
    """Return a contract of that task with a column of every type, none of which lacks values."""
    classes = CLASSES[task]
    columns = (
        Column("amount", "number"),
        Column("visits", "integer"),
        Column("member", "boolean"),
        Column("city", "category"),
        Column("comment", "text"),
        Column("since", "timestamp"),
        Column("target", "number" if classes is None else "category", "target"),
    )
    return Contract("target", None, task, classes, columns)


def table_of(contract: Contract, rows: int, first_key: int) -> pyarrow.Table:
    """Return made-up prepared rows: every class occurs, and values follow the rules of their columns."""
    import pyarrow  # noqa: PLC0415 - what it takes to load it is paid once the model has been imported

    rng = np.random.default_rng(first_key)
    types = {
        "number": pyarrow.float64(),
        "integer": pyarrow.int64(),
        "boolean": pyarrow.bool_(),
        "category": pyarrow.string(),
        "text": pyarrow.string(),
        "timestamp": pyarrow.timestamp("us", "UTC"),
    }
    arrays: dict[str, Any] = {}
    for column in (each for each in contract.prepared if each.role != "target"):
        values = _values(column, rows, rng)
        missing = rng.random(rows) < MISSING if column.nullable else None
        arrays[column.name] = pyarrow.array(values, types[column.type], mask=missing)
    if contract.classes is None:
        arrays[contract.target] = pyarrow.array(rng.normal(size=rows), pyarrow.float64())
    else:
        labels = np.array(contract.classes, dtype=object)[rng.permutation(rows) % len(contract.classes)]
        arrays[contract.target] = pyarrow.array(labels, pyarrow.string())
    keys = np.arange(first_key, first_key + rows, dtype=np.uint64)
    arrays[ROW_KEY] = pyarrow.array(keys)
    if contract.group is not None:
        arrays[GROUP_KEY] = pyarrow.array(keys // ROWS_PER_GROUP)
    return pyarrow.table(arrays)


def _values(column: Column, rows: int, rng: np.random.Generator) -> Any:
    low = 0.0 if column.minimum is None else float(column.minimum)
    high = low + 100.0 if column.maximum is None else float(column.maximum)
    if column.type == "number":
        return rng.uniform(low, high, rows)
    if column.type == "integer":
        return rng.integers(int(low), max(int(high), int(low)), rows, endpoint=True)
    if column.type == "boolean":
        return rng.random(rows) < 0.5
    if column.type == "text":
        return [" ".join(words) for words in rng.choice(np.array(_WORDS, dtype=object), (rows, 4))]
    if column.type == "category":
        return rng.choice(np.array(column.categories or ("a", "b", "c"), dtype=object), rows)
    microseconds = rng.integers(1_600_000_000, 1_700_000_000, rows) * 1_000_000
    return microseconds.astype("datetime64[us]")


def check(contract: Contract, root: Path, hyperparameters: Mapping[str, str]) -> None:
    """Run the whole job on made-up rows of the contract. Raises what the job would fail with."""
    import pyarrow.parquet  # noqa: PLC0415

    from job import train  # noqa: PLC0415

    first = 0
    for split, least in ROWS.items():
        rows = max(least, ROWS_PER_CLASS * len(contract.classes or ()))
        folder = Folders(root).channel(split)
        folder.mkdir(parents=True)
        pyarrow.parquet.write_table(table_of(contract, rows, first), folder / "part-00000.parquet")
        first += rows
    folder = Folders(root).channel("contract")
    folder.mkdir()
    (folder / "schema.json").write_text(contract.to_json(), encoding="utf-8")
    Folders(root).config.mkdir()
    given = {**hyperparameters, "metric": "auto", "seed": "0"}
    (Folders(root).config / "hyperparameters.json").write_text(json.dumps(given))
    with contextlib.redirect_stdout(io.StringIO()):
        train(Folders(root), {}, root, [])


def told(error: BaseException) -> str:
    """Return an error's class, text and, where it comes from ``model.py``, the line."""
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == str(MODEL)]
    if isinstance(error, SyntaxError) and error.filename == str(MODEL):
        lines, text = [error.lineno], str(error.msg)
    else:
        text = str(error)
    where = f" ({MODEL.parent.name}/{MODEL.name}, line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{where}"


def _is_there(name: str, carried: list[Path]) -> bool:
    """Whether a job has a library; this machine's environment may hold more than the image."""
    image = wheels.Files().image.read_text(encoding="utf-8")
    return name in own_libraries.versions(carried) or f"\n{name}==" in image


def _require_optuna(carried: list[Path]) -> None:
    """Refuse a search that only this machine could make."""
    if not _is_there("optuna", carried):
        raise TuningFailed(
            "TuningTrials is set, and neither training/requirements.txt nor the image has optuna. Add the "
            "line optuna==5.0.0, or set TuningTrials to 0."
        )


def _require_together(contract: Contract, is_pinned: bool, carried: list[Path]) -> None:
    """Refuse several instances of what one alone can train."""
    import model  # noqa: PLC0415 - these as `check` does
    from distributed_boosting import LIGHTGBM  # noqa: PLC0415
    from fitting import require_peers  # noqa: PLC0415
    from job import require_shared  # noqa: PLC0415

    if is_pinned:  # the columns that are made up are of every type
        require_shared(contract, model)
    estimator = model.build_model(contract, {"metric": "auto", "seed": 0})
    require_peers(estimator, estimator.fit)
    if hasattr(model, "BoostedTogether") and not _is_there("lightgbm", carried):
        raise UnusableLibrary(
            "TrainingInstanceCount is above 1, and training/requirements.txt lacks LightGBM, by which "
            f"several instances train. Add the line {LIGHTGBM}, or set TrainingInstanceCount to 1."
        )


def _failures(
    contracts: list[Contract], hyperparameters: Mapping[str, str], together: Callable[[Contract], None]
) -> Iterator[tuple[str, BaseException]]:
    for contract in contracts:
        with tempfile.TemporaryDirectory(prefix="check-model-") as folder:
            try:
                together(contract)
                check(contract, Path(folder), hyperparameters)
            except (Exception, SystemExit) as raised:
                yield contract.task, raised


def main(arguments: list[str]) -> int:
    """Check, and say what is wrong. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contract", type=Path)
    parser.add_argument("--task", choices=["auto", *CLASSES], default="auto")
    parser.add_argument("--hyperparameters", default="{}")
    parser.add_argument("--tuning-trials", type=float, default=0)
    parser.add_argument("--instances", type=float, default=1)
    given = parser.parse_args(arguments)
    try:
        hyperparameters = parse_hyperparameters(given.hyperparameters)
        carried = wheels.fetched(wheels.Files())
        for folder in {wheel.parent for wheel in carried}:
            own_libraries.add(folder)
        if given.tuning_trials:
            _require_optuna(carried)
            hyperparameters["tuning_trials"] = str(TRIALS)
        import model  # noqa: F401, PLC0415 - whatever is wrong with the file is told below
    except (Exception, SystemExit) as raised:
        print(told(raised), file=sys.stderr)
        return 1
    if given.contract is not None:
        contracts = [Contract.from_json(given.contract.read_bytes())]
    else:
        contracts = [contract_of(task) for task in CLASSES if given.task in ("auto", task)]

    def together(contract: Contract) -> None:
        if given.instances > 1:
            _require_together(contract, given.contract is not None, carried)

    failures = list(_failures(contracts, hyperparameters, together))
    # A model may be meant for one task; what it returns has to be usable in any that it takes on.
    is_bad = len(failures) == len(contracts) or any(isinstance(e, NEVER_USABLE) for _, e in failures)
    if is_bad:
        tasks: dict[str, list[str]] = {}
        for task, error in failures:
            tasks.setdefault(told(error), []).append(task)
        for text, of in tasks.items():
            print(f"{text} [{', '.join(of)}]", file=sys.stderr)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
