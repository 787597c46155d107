"""Trains, scores and packs one model: the process of a SageMaker training job.

    python3 /opt/ml/input/data/code/train.py

It reads ``/opt/ml`` as SageMaker lays it out (or the folder that the environment variable ``ML_ROOT`` names)
and writes the files described in ``docs/architecture.md`` (Training job). Under SageMaker's own toolkit,
which tuning jobs need, it does the same: it takes nothing from the command line or the toolkit's variables.

Exit 0: trained. Exit 1: ``output/failure`` says why, beginning with the error's class name. On SIGTERM it
removes what it has written of the model and exits 143.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    # Both have to be set before numpy and scikit-learn are loaded.
    # Sums over several BLAS threads round differently from machine to machine, which would change the
    # model's digest. Boosting's threads (OpenMP) don't matter to it.
    for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        os.environ[_name] = "1"
    # Threads that wait actively take the processor from those they wait for: on a busy machine, boosting
    # of a small table took 35 s instead of 0.65 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import functools
import importlib.metadata
import inspect
import json
import math
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

import build_backend
import compiling
import dropforge.domain
import inference
from compiling import Compilation
from dropforge.domain import archive, compiled, manifest
from dropforge.domain.contract import Contract
from dropforge.domain.encoding import Encoding
from dropforge.domain.errors import (
    ArtifactChanged,
    ArtifactMissing,
    ConstantTarget,
    DropforgeError,
    InvalidContract,
    InvalidHyperparameters,
    TooFewRows,
    UnsuitableTarget,
    UnusableEstimator,
    cut,
)
from dropforge.domain.instances import json_value
from dropforge.domain.metric_registry import Metric, metric_line, metric_named
from dropforge.domain.metrics import Scored

SMOKE_ROWS = 32
MAXIMUM_SLICES = 32
SLICE_LABELS = 20
"""Most frequent values of a category that get a slice of their own; the rest belong to none."""

IMPORTANCE_ROWS = 1000
IMPORTANCE_REPEATS = 3
IMPORTANCE_SHUFFLES = 1500
"""Shuffles of all features together: with many features each is shuffled less often, but at least once."""

CHAMPION_TIMEOUT_S = 1800
"""Time that the champion has for the hold-out; it runs beside the candidate's training."""

FAILURE_CHARACTERS = 900
"""SageMaker shows 1024 characters of the file `failure`, of which the class's name takes some."""

TOOLKIT_PREFIXES = ("sagemaker_", "_tuning_")
"""Hyperparameters that SageMaker's toolkit and tuning jobs add; they are none of ours."""

LIBRARIES = ("numpy", "scipy", "scikit-learn", "joblib", "pyarrow")

LINEAGE_VARIABLES = {
    "run_id": "DROPFORGE_RUN_ID",
    "execution_arn": "DROPFORGE_EXECUTION_ARN",
    "data_version": "DROPFORGE_DATA_VERSION",
    "code_sha256": "DROPFORGE_CODE_SHA256",
    "training_job": "TRAINING_JOB_NAME",
}

READ_OTHERWISE = "DROPFORGE_READ_OTHERWISE"
"""JSON: the columns by which releases of an earlier reading may have split the rows otherwise, by reading."""

CODE = Path(__file__).resolve().parent
_RULES = Path("code", "dropforge", "domain", "values.py")
"""Of a model's archive: the rules by which its data was read. The first releases had none in one place."""


@dataclass(frozen=True)
class Folders:
    """SageMaker's folders under ``/opt/ml``."""

    root: Path

    def channel(self, name: str) -> Path:
        return self.root / "input" / "data" / name

    @property
    def config(self) -> Path:
        return self.root / "input" / "config"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def output(self) -> Path:
        return self.root / "output" / "data"

    @property
    def failure(self) -> Path:
        return self.root / "output" / "failure"


@dataclass(frozen=True)
class Settings:
    """The job's hyperparameters: ours by name, the rest for `build_model`."""

    metric: str
    seed: int
    champion_sha256: str | None
    model: Mapping[str, Any]
    given: Mapping[str, str]


@dataclass(frozen=True)
class Split:
    """A prepared split: features as column arrays, their encoding, and the target as codes or values."""

    columns: Mapping[str, NDArray[Any]]
    target: NDArray[Any]
    row_key: NDArray[np.uint64]


@dataclass
class Clock:
    """Seconds per step, for the report."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 4)


class Champion:
    """The live model, scored on the hold-out by its own code in a process of its own.

    Its archive is opened only after its digest was found to be the registered one.

    Raises:
        ArtifactMissing: the channel has no model.tar.gz.
        ArtifactChanged: the archive is not the registered one.
    """

    def __init__(self, channel: Path, sha256: str, data: Path, work: Path) -> None:
        self.sha256 = sha256
        self._folder = work / "champion"
        self._scores = work / "champion.npz"
        self._log = work / "champion.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.reason: str | None = None
        try:
            packed = (channel / "model.tar.gz").open("rb")
        except FileNotFoundError as error:
            raise ArtifactMissing("the channel 'champion' holds no model.tar.gz.") from error
        with packed:
            found = manifest.sha256_of(packed)
            if found != sha256:
                raise ArtifactChanged(
                    f"the champion's model.tar.gz has the SHA-256 {found}, registered is {sha256}; "
                    "it was not opened. Find out who replaced it."
                )
            packed.seek(0)
            archive.extract(packed, self._folder)
        program = self._folder / "code" / "inference.py"
        if not program.is_file():
            self.reason = "InvalidModel: its archive has no code/inference.py"
            return
        # PYTHONPATH could put the candidate's modules before the champion's own.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        places = {"--model": self._folder, "--data": data, "--out": self._scores}
        command = [sys.executable, str(program), "score"]
        command += [str(part) for option in places.items() for part in option]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def scores(
        self, contract: Contract, row_key: NDArray[np.uint64], read_otherwise: str
    ) -> NDArray[np.float64] | None:
        """Wait for the scores, aligned with `row_key`; None with `reason` set where there are none."""
        if self._process is not None:
            try:
                code = self._process.wait(CHAMPION_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.stop()
                self.reason = f"it took more than {CHAMPION_TIMEOUT_S} s for the hold-out"
                return None
            if code != 0:
                said = self._log.read_text(errors="replace").strip().splitlines()
                self.reason = said[-1][:500] if said else f"its code/inference.py ended with {code}"
        if self.reason is not None:
            return None
        self.reason = self._difference(contract, read_otherwise)
        if self.reason is not None:
            return None
        with np.load(self._scores, allow_pickle=False) as scored:
            scores = scored["scores"]
            width = () if contract.classes is None else (len(contract.classes),)
            if not np.array_equal(scored["row_key"], row_key) or scores.shape != (len(row_key), *width):
                self.reason = "NotComparable: it answered for other rows than the hold-out's"
            elif not np.isfinite(scores).all():
                self.reason = "it gave predictions that are not finite"
        return None if self.reason else np.asarray(scores, dtype=np.float64)

    def outcome(self) -> dict[str, Any]:
        """Return the entry ``champion`` of training_report.json, once `scores` has returned."""
        return {"scored": self.reason is None, "reason": self.reason, "sha256": self.sha256}

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _difference(self, contract: Contract, read_otherwise: str) -> str | None:
        try:
            its = Contract.from_json((self._folder / "contract.json").read_bytes())
        except (OSError, InvalidContract) as error:
            return f"InvalidModel: its contract.json can't be read: {error}"
        for name in ("target", "task", "classes"):
            if getattr(its, name) != getattr(contract, name):
                old, new = getattr(its, name), getattr(contract, name)
                return f"SchemaChanged: it predicts {name} {old!r}, not {new!r}"
        if not its.splits_like(contract):
            return (
                "NotComparable: rows were split otherwise when it was trained, so it may have been trained "
                "on rows of this hold-out"
            )
        columns = json.loads(read_otherwise or "{}").get(str(_reading_of(self._folder)))
        if columns:
            return (
                f"NotComparable: the release that trained it read {columns} otherwise and split rows "
                "by that, so it may have been trained on rows of this hold-out; a model that is trained now "
                "will be comparable"
            )
        return None


def _reading_of(folder: Path) -> int:
    """Return by which reading the data of an unpacked model was split; the second had no number yet."""
    rules = folder / _RULES
    if not rules.is_file():
        return 1
    numbered = re.search(r"^READING = (\d+)$", rules.read_text(encoding="utf-8"), re.MULTILINE)
    return 2 if numbered is None else int(numbered[1])


def read_settings(folders: Folders) -> Settings:
    """Read hyperparameters.json, whose values are all strings (a tuning job's are JSON in strings).

    Raises:
        InvalidHyperparameters: one of ours is malformed.
    """
    path = folders.config / "hyperparameters.json"
    raw = json.loads(path.read_bytes()) if path.is_file() else {}
    given = {n: str(v) for n, v in sorted(raw.items()) if not n.startswith(TOOLKIT_PREFIXES)}
    typed = {name: _typed(text) for name, text in given.items()}
    seed, sha256 = typed.pop("seed", 0), _typed_text(given.get("champion_sha256", ""))
    typed.pop("champion_sha256", None)
    metric = str(typed.pop("metric", "auto"))
    problems = []
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        problems.append(f"seed must be an integer from 0 to 2**32 - 1, not {seed!r}")
    if sha256 and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        problems.append(f"champion_sha256 must be 64 lower-case hexadecimal digits, not {sha256!r}")
    has_champion = folders.channel("champion").is_dir()
    if has_champion != bool(sha256):
        problems.append("the channel champion and the hyperparameter champion_sha256 need each other")
    hosts = folders.config / "resourceconfig.json"
    if hosts.is_file() and len(json.loads(hosts.read_bytes()).get("hosts", [])) > 1:
        problems.append("training runs on one instance; set InstanceCount to 1")
    if problems:
        raise InvalidHyperparameters(f"hyperparameters: {'; '.join(problems)}.")
    return Settings(metric, int(seed), sha256 or None, typed, given)


def _typed(text: str) -> Any:
    """Read a number, boolean or quoted string as JSON does; anything else is the text itself."""
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    return value if isinstance(value, int | float | str) else text


def _typed_text(text: str) -> str:
    """Read a string that may be JSON-quoted; a digest of digits alone must not become a number."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def read_split(folders: Folders, name: str, contract: Contract) -> Split:
    """Read a channel of prepared Parquet.

    Raises:
        TooFewRows: it has none.
        UnsuitableTarget: the target is missing in a row or is no class of the contract.
    """
    table = inference.read_split(folders.channel(name), contract)
    if table.num_rows == 0:
        raise TooFewRows(f"the split {name!r} has no rows; drop more data.")
    if contract.classes is not None:
        labels = inference.labels_of(table.column(contract.target))
        codes = {label: code for code, label in enumerate(contract.classes)}
        unknown = sorted({str(label) for label in labels if label not in codes})
        if unknown:
            raise UnsuitableTarget(
                f"{name}: target {contract.target!r} holds {unknown[:5]}, no classes of the contract."
            )
        target: NDArray[Any] = np.array([codes[label] for label in labels], dtype=np.int64)
    else:
        target = inference.numbers_of(table.column(contract.target))
        if not np.isfinite(target).all():
            raise UnsuitableTarget(f"{name}: target {contract.target!r} is missing or not finite in a row.")
    return Split(inference.columns_of_table(table, contract), target, inference.row_keys_of(table))


def read_splits(folders: Folders, contract: Contract) -> tuple[Split, Split, Split]:
    """Read the training, validation and hold-out rows.

    Raises:
        ConstantTarget: the training rows are all of one class.
        TooFewRows, UnsuitableTarget: see `read_split`.
    """
    training, validation, holdout = (
        read_split(folders, name, contract) for name in ("train", "validation", "test")
    )
    if contract.classes is not None and len(np.unique(training.target)) < 2:
        raise ConstantTarget(
            f"every training row has the same {contract.target!r}; there is nothing to learn."
        )
    return training, validation, holdout


def joined(first: Split, second: Split) -> Split:
    """Return the rows of both, the first's before the second's."""
    return Split(
        {name: np.concatenate([values, second.columns[name]]) for name, values in first.columns.items()},
        np.concatenate([first.target, second.target]),
        np.concatenate([first.row_key, second.row_key]),
    )


class Fitting:
    """Fits an estimator on the training rows, then on the training and the validation rows.

    Args:
        build: returns an unfitted estimator.
        matrix, target: the training rows, and after them the validation rows.
        n_training: how many of them are training rows.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        matrix: NDArray[np.float64],
        target: NDArray[Any],
        n_training: int,
    ) -> None:
        self._build, self._matrix, self._target = build, matrix, target
        self._training, self._validation = slice(n_training), slice(n_training, None)

    def first(self) -> Any:
        """Fit on the training rows, with the validation rows where the estimator's ``fit`` takes them.

        Raises:
            UnusableEstimator: it is no estimator.
        """
        estimator = self._build()
        if not callable(getattr(estimator, "fit", None)):
            raise UnusableEstimator(f"build_model must return an estimator, not {type(estimator).__name__}.")
        rows = self._matrix[self._training], self._target[self._training]
        if not _takes_validation(estimator):
            return estimator.fit(*rows)
        X_val, y_val = self._matrix[self._validation], self._target[self._validation]
        return estimator.fit(*rows, X_val=X_val, y_val=y_val)

    def final(self, first: Any) -> tuple[Any, dict[str, int]]:
        """Return the estimator to deliver, and how many rows of which split it was fitted on.

        Args:
            first: what `first` returned; it may be changed.
        """
        n_training = len(self._target[self._training])
        both = {"train": n_training, "validation": len(self._target) - n_training}
        if callable(getattr(first, "fit_final", None)):
            return first.fit_final(self._matrix, self._target), both
        if _takes_validation(first):
            print("fitted on the training rows alone: the estimator has no fit_final(X, y)", flush=True)
            return first, {"train": n_training}
        return self._build().fit(self._matrix, self._target), both


def validated(
    estimator: Any, contract: Contract, matrix: NDArray[np.float64], target: NDArray[Any]
) -> dict[str, float]:
    """Return every metric of rows that the estimator was not fitted on, printed for SageMaker to find."""
    scores = inference.predictor_of(estimator, contract)(matrix)
    measured = {
        name: float(value) for name, (value,) in Scored(contract.task, target, scores).measure().items()
    }
    for name, value in measured.items():
        print(metric_line(name, value), flush=True)
    return measured


def _takes_validation(estimator: Any) -> bool:
    return {"X_val", "y_val"} <= inspect.signature(estimator.fit).parameters.keys()


def write_model(
    folder: Path,
    estimator: Any,
    compilation: Compilation,
    encoding: Encoding,
    settings: Settings,
    run_id: str | None,
    fitted: Mapping[str, int],
) -> str:
    """Write the model folder with its code and digests. Returns the model digest.

    Args:
        fitted: how many rows of which split the estimator was fitted on.
    """
    clear(folder)
    joblib.dump(estimator, folder / "model.joblib")
    if compilation.compiled is not None:
        compilation.compiled.write(folder / compiled.FILE_NAME)
    (folder / "contract.json").write_text(encoding.contract.to_json(), encoding="utf-8")
    (folder / "encoding.json").write_text(encoding.to_json(), encoding="utf-8")
    domain = Path(dropforge.domain.__file__ or "").parent
    package = folder / "code" / "dropforge"
    shutil.copytree(domain, package / "domain", ignore=shutil.ignore_patterns("__pycache__"))
    # Without it a dropforge that is installed beside the archive would be imported instead.
    (package / "__init__.py").touch()
    for name in ("inference.py", "model.py", "build_backend.py"):
        shutil.copyfile(CODE / name, folder / "code" / name)
    (folder / "code" / "pyproject.toml").write_text(build_backend.PYPROJECT)
    files = manifest.file_digests(folder)
    digest = manifest.model_digest(files)
    content = {
        "format": manifest.FORMAT,
        "run_id": run_id,
        "task": encoding.contract.task,
        "estimator": getattr(estimator, "selected_", type(estimator).__name__),
        "files": files,
        "model_digest": digest,
        "libraries": libraries(),
        "hyperparameters": settings.given,
        "contract_hash": encoding.contract.hash,
        "seed": settings.seed,
        "fitted": fitted,
    }
    write_json(folder / manifest.FILE_NAME, content)
    return digest


def importance(
    model: inference.Model, split: Split, metric: Metric, seed: int
) -> dict[str, dict[str, float]]:
    """Return per feature how much of the metric is lost when its values are shuffled (mean and deviation).

    Permutation importance on up to IMPORTANCE_ROWS rows (Breiman 2001, section 10), which are to be none of
    those that the model was fitted on: on those it overrates what was learned by heart. The same model and
    rows give the same numbers.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(split.target))[:IMPORTANCE_ROWS])
    matrix = model.encoding.encode({name: values[rows] for name, values in split.columns.items()})
    task, target = model.contract.task, split.target[rows]
    base = Scored(task, target, model.predict(matrix)).value(metric.name)
    places_of: dict[str, list[int]] = {}
    for place, column in enumerate(model.encoding.columns):
        places_of.setdefault(column.source, []).append(place)
    repeats = max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_SHUFFLES // len(places_of)))
    losses: dict[str, dict[str, float]] = {}
    shuffled = matrix.copy()
    for source, places in places_of.items():
        lost = []
        for _ in range(repeats):
            shuffled[:, places] = matrix[:, places][rng.permutation(len(matrix))]
            value = Scored(task, target, model.predict(shuffled)).value(metric.name)
            lost.append(float(metric.gain(base, value)))
        shuffled[:, places] = matrix[:, places]
        losses[source] = {"mean": float(np.mean(lost)), "deviation": float(np.std(lost))}
    return losses


def slices(
    encoding: Encoding, columns: Mapping[str, NDArray[Any]]
) -> tuple[list[dict[str, Any]], NDArray[np.int16]]:
    """Return what to slice by (name and labels), and each row's label: int16 (n, n_slices).

    A row with a missing or a rare value belongs to none: −1.
    """
    described: list[dict[str, Any]] = []
    codes: list[NDArray[np.int16]] = []
    for column in encoding.contract.features:
        if column.type not in ("category", "boolean") or len(described) == MAXIMUM_SLICES:
            continue
        values = columns[column.name]
        if column.type == "boolean":
            labels = ["false", "true"]
            codes.append(np.where(np.isnan(values), -1, values).astype(np.int16))
        else:
            labels = list(encoding.vocabularies[column.name][:SLICE_LABELS])
            position = {label: code for code, label in enumerate(labels)}
            codes.append(np.array([position.get(value, -1) for value in values], dtype=np.int16))
        described.append({"name": column.name, "labels": labels})
    rows = len(next(iter(columns.values())))
    return described, np.stack(codes, axis=1) if codes else np.empty((rows, 0), dtype=np.int16)


def smoke(model: inference.Model, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Send up to SMOKE_ROWS evenly spaced rows as one request through the serving code; keep the answer.

    Raises:
        UnusableEstimator: the serving code refuses rows of the hold-out.
    """
    n = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, n - 1, min(SMOKE_ROWS, n)).round().astype(int))
    instances = [
        {c.name: json_value(c, columns[c.name][row]) for c in model.contract.features} for row in rows
    ]
    body = json.dumps({"instances": instances}, ensure_ascii=False)
    status, text = inference.answer(model, body, inference.JSON, inference.JSON)
    if status != 200:
        raise UnusableEstimator(f"the saved model answers {status} to rows of the hold-out: {text[:500]}")
    predictions = json.loads(text)["predictions"]
    return {"format": 1, "content_type": inference.JSON, "instances": instances, "predictions": predictions}


def train(folders: Folders, environment: Mapping[str, str], work: Path, running: list[Champion]) -> None:
    """Run the whole job; see the module's text. `running` receives the champion's process for clean-up."""
    from model import build_model  # noqa: PLC0415 - the user's file: its errors must reach output/failure

    clock = Clock()
    settings = read_settings(folders)
    contract = Contract.from_json(_contract_text(folders))
    metric = metric_named(contract.task, settings.metric)
    clear(folders.output)
    if settings.champion_sha256 is not None:
        with clock.step("open_champion"):
            places = folders.channel("champion"), settings.champion_sha256, folders.channel("test"), work
            running.append(Champion(*places))
    with clock.step("read"):
        training, validation, holdout = read_splits(folders, contract)
    rows = {"train": len(training.target), "validation": len(validation.target), "test": len(holdout.target)}
    known = {**settings.model, "metric": metric.name, "seed": settings.seed}
    with clock.step("fit"):
        both = joined(training, validation)
        del training, validation
        encoding = Encoding.learn(contract, both.columns)
        matrix, n_training = encoding.encode(both.columns), rows["train"]
        fitting = Fitting(lambda: build_model(contract, known), matrix, both.target, n_training)
        first = fitting.first()
    with clock.step("validate"):
        measured = validated(first, contract, matrix[n_training:], both.target[n_training:])
    with clock.step("fit_final"):
        estimator, fitted = fitting.final(first)
    lineage = {name: environment.get(variable) or None for name, variable in LINEAGE_VARIABLES.items()}
    with clock.step("compile"):
        compilation = compiling.compile_checked(
            estimator,
            len(contract.classes or ()),
            inference.predictor_of(estimator, contract),
            encoding.encode(holdout.columns),
        )
        print(f"compiled form: {compilation.reason or 'agrees with the estimator'}", flush=True)
    with clock.step("save"):
        digest = write_model(
            folders.model, estimator, compilation, encoding, settings, lineage["run_id"], fitted
        )
        saved = inference.model_fn(str(folders.model))
    with clock.step("score"):
        candidate = saved.score(dict(holdout.columns))
        important = importance(saved, holdout, metric, settings.seed)
        answers = smoke(saved, holdout.columns)
    described, codes = slices(encoding, holdout.columns)
    arrays: dict[str, Any] = {
        "row_key": holdout.row_key,
        "target": holdout.target,
        "candidate": candidate,
        "slice_codes": codes,
    }
    for live in running:
        with clock.step("wait_for_champion"):
            scores = live.scores(contract, holdout.row_key, environment.get(READ_OTHERWISE, ""))
        if scores is not None:
            arrays["champion"] = scores
        print(f"champion: {f'not scored: {live.reason}' if live.reason else 'scored'}", flush=True)
    with (folders.output / "holdout.npz").open("wb") as file:
        np.savez(file, **arrays)
    report = {
        "format": 1,
        "task": contract.task,
        "metric": metric.name,
        "estimator": getattr(estimator, "selected_", type(estimator).__name__),
        "parameters": getattr(estimator, "parameters_", None),
        "rounds": getattr(estimator, "rounds_", None),
        "cross_validation": getattr(estimator, "scores_", None),
        "compiled": compilation.to_dict(),
        "validation": measured,
        "rows": rows,
        "fitted": fitted,
        "classes": contract.classes,
        "contract_hash": contract.hash,
        "importance": important,
        "importance_split": "test",
        "slices": described,
        "champion": next((live.outcome() for live in running), None),
        "model_digest": digest,
        "hyperparameters": settings.given,
        "seed": settings.seed,
        "libraries": libraries(),
        "lineage": lineage,
        "seconds": clock.seconds,
    }
    write_json(folders.output / "training_report.json", report)
    write_json(folders.output / "smoke.json", answers)
    print(f"trained {report['estimator']}, model_digest {digest}", flush=True)


def _contract_text(folders: Folders) -> bytes:
    try:
        return (folders.channel("contract") / "schema.json").read_bytes()
    except FileNotFoundError as error:
        raise InvalidContract("the channel 'contract' holds no schema.json.") from error


@functools.cache
def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a model depends on."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that any parser reads: numpy's numbers become plain ones, NaN and infinity null."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | bool | None) else str(value)


def clear(folder: Path) -> None:
    """Empty a folder, so that a second run leaves nothing of the first; create it where it is absent."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def main() -> int:
    """Run the job. Returns the exit code."""
    folders = Folders(Path(os.environ.get("ML_ROOT") or "/opt/ml"))
    running: list[Champion] = []
    work = Path(tempfile.mkdtemp(prefix="training-"))

    def stop(_signal: int, _frame: object) -> None:
        # SageMaker uploads the model folder of a stopped job as well: half a model must not be in it. The
        # process ends here at once, because an estimator's threads may not return within the 120 s it has.
        for champion in running:
            champion.stop()
        clear(folders.model)
        shutil.rmtree(work, ignore_errors=True)
        print("Stopped: SIGTERM received; no model was written.", flush=True)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        train(folders, os.environ, work, running)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        name = type(error).__name__
        if isinstance(error, DropforgeError):
            told, logged = cut(error.whole, FAILURE_CHARACTERS), error.whole
        else:
            told = logged = f"{error}\n\n{traceback.format_exc()}"
        folders.failure.parent.mkdir(parents=True, exist_ok=True)
        folders.failure.write_text(f"{name}: {told}\n", encoding="utf-8")
        print(f"{name}: {logged}\n", file=sys.stderr, flush=True)
        clear(folders.model)
        return 1
    finally:
        for champion in running:
            champion.stop()
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
