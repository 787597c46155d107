"""Serves a trained model: SageMaker's scikit-learn functions, and scoring of a Parquet split.

SageMaker's serving stack imports this file from the model archive's ``code/`` folder and calls `model_fn`
once per worker and `transform_fn` per request. As a program it scores a prepared split, which is how a later
training job asks the live model for its predictions with the live model's own code:

    python inference.py score --model DIR --data PARQUET_DIR --out FILE.npz
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The archive's own copy of dropforge and model.py must win over any that is installed beside it.
if str(Path(__file__).parent) not in sys.path[:1]:
    sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from numpy.typing import NDArray

from dropforge.domain import compiled, manifest
from dropforge.domain.compiled import Compiled
from dropforge.domain.contract import ROW_KEY, Contract
from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.encoding import ColumnArrays, Encoding, Labels
from dropforge.domain.errors import (
    DropforgeError,
    EmptyData,
    SchemaChanged,
    UnreadableData,
    UnusableEstimator,
)
from dropforge.domain.instances import InvalidInstances, columns_of_csv, columns_of_json
from own_libraries import FOLDER as OWN_LIBRARIES
from own_libraries import add as add_libraries
from raw_columns import RawColumns, is_raw

if TYPE_CHECKING:
    import pyarrow
    from flask import Response

JSON = "application/json"
CSV = "text/csv"

TRIED_ALONE = 100
"""Instances of a request up to which each is scored alone, to say on which of them the estimator fails."""

PROBLEM_CHARACTERS = 300
"""Of an estimator's own message, which may quote a whole table."""

READERS: dict[str, Callable[[Contract, bytes], dict[str, NDArray[Any]]]] = {
    JSON: columns_of_json,
    CSV: columns_of_csv,
}

PARQUET_TYPES: dict[str, tuple[str, ...]] = {
    "number": ("double",),
    "integer": ("int64",),
    "boolean": ("bool",),
    "category": ("string", "large_string"),
    "text": ("string", "large_string"),
    "timestamp": ("timestamp[us, tz=UTC]",),
}
"""Types of prepared Parquet that hold a column of the contract's type."""

BATCH_ROWS, BATCH_CELLS = 1 << 16, 1 << 21
"""Rows and values of prepared Parquet that are in memory at once: 16 MiB as float64."""

FETCH_BYTES = 1 << 16
"""What is read at once of each column of a file."""


@dataclass(frozen=True)
class Model:
    """A loaded model. `predict` maps what `encoding` makes of columns, a matrix or a DataFrame, to scores.

    Scores are float64: (n, n_classes) probabilities in the order of ``contract.classes``, or (n,) values.
    Without a `threshold` the label is the class of highest probability.
    """

    contract: Contract
    encoding: Encoding | RawColumns
    predict: Callable[[Any], NDArray[np.float64]]
    threshold: DecisionThreshold | None = None

    def score(self, columns: ColumnArrays) -> NDArray[np.float64]:
        """Predict from column arrays; see `dropforge.domain.encoding` for their form."""
        return self.predict(self.encoding.encode(columns))


def model_fn(model_dir: str) -> Model:
    """Load the model in `model_dir`. Nothing is unpickled before every file has its registered digest.

    Raises:
        InvalidModel: a file is missing or is not the one that was written in training, or the container was
            started for another model.
    """
    folder = Path(model_dir)
    manifest.verify(folder, os.environ.get(manifest.DIGEST_VARIABLE))
    contract = Contract.from_json((folder / "contract.json").read_bytes())
    text = (folder / "encoding.json").read_bytes()
    encoding = RawColumns(contract) if is_raw(text) else Encoding.from_json(text, contract)
    threshold = DecisionThreshold.read(folder, contract.classes)
    return Model(contract, encoding, load_predictor(folder, contract), threshold)


def load_predictor(folder: Path, contract: Contract) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the function from encoded matrix to scores, of the compiled form where the model has one.

    With it, neither the pickled estimator nor the libraries that it needs are loaded.
    """
    if (folder / compiled.FILE_NAME).is_file():
        return Compiled.read(folder / compiled.FILE_NAME).scorer(len(contract.classes or ()))
    # Boosting's threads would spin while they wait for each other; has to be set before they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    add_libraries(folder / OWN_LIBRARIES)
    import joblib  # noqa: PLC0415 - the compiled form doesn't need it

    return predictor_of(joblib.load(folder / "model.joblib"), contract)


def predictor_of(estimator: Any, contract: Contract) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Wrap a fitted scikit-learn estimator, so that scores are in the order of the contract's classes.

    The estimator was fitted on class codes; a class that it has never seen gets probability 0.

    Raises:
        UnusableEstimator: it can't predict what the task needs, fails on rows, or a prediction has the wrong
            shape, isn't finite, or is no probability.
    """
    method = "predict_proba" if contract.is_classification else "predict"
    if not callable(getattr(estimator, method, None)):
        raise UnusableEstimator(
            f"{type(estimator).__name__} has no {method}, which a {contract.task} target needs. Wrap it in "
            "what has one (a classifier in CalibratedClassifierCV), or choose another; 'fit' must return it."
        )
    n_classes = len(contract.classes) if contract.classes is not None else 0

    def probabilities(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = _asked(estimator, "predict_proba", matrix)
        codes = np.asarray(estimator.classes_, dtype=np.int64)
        if raw.shape != (len(matrix), len(codes)) or not np.isfinite(raw).all():
            raise UnusableEstimator(f"predict_proba must give finite (n, {len(codes)}), gave {raw.shape}.")
        if (raw < 0).any() or not np.allclose(raw.sum(axis=1), 1.0, atol=1e-6):
            raise UnusableEstimator("predict_proba must give probabilities that add up to 1 per row.")
        scores = np.zeros((len(matrix), n_classes))
        scores[:, codes] = raw
        return scores

    def values(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = _asked(estimator, "predict", matrix)
        if raw.shape != (len(matrix),) or not np.isfinite(raw).all():
            raise UnusableEstimator(f"predict must give finite values of shape (n,), gave {raw.shape}.")
        return raw

    return probabilities if contract.is_classification else values


def _asked(estimator: Any, method: str, matrix: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(getattr(estimator, method)(matrix), dtype=np.float64)
    except (DropforgeError, MemoryError):
        raise
    except Exception as error:  # whatever code of the user's own raises
        said = f"{type(error).__name__}: {error}"[:PROBLEM_CHARACTERS]
        raise UnusableEstimator(f"{type(estimator).__name__}.{method} fails on rows: {said}") from error


def predictions_of(
    contract: Contract, scores: NDArray[np.float64], threshold: DecisionThreshold | None = None
) -> list[dict[str, Any]]:
    """Return the answer's ``predictions``: label and probabilities per row, or a value per row.

    The label is the one that the threshold gives; without one the class of highest probability, the first of
    equals.
    """
    if contract.classes is None:
        return [{"value": value} for value in scores.tolist()]
    classes = contract.classes
    codes = scores.argmax(axis=1) if threshold is None else threshold.labels(classes, scores)
    labels = codes.tolist()
    return [
        {"label": classes[label], "probabilities": dict(zip(classes, row, strict=True))}
        for label, row in zip(labels, scores.tolist(), strict=True)
    ]


def answer(model: Model, body: bytes | str, content_type: str | None, accept: str | None) -> tuple[int, str]:
    """Answer one request: HTTP status and JSON text. Every refusal says what is wrong.

    400 the request breaks the contract; 406 only JSON is given; 415 only JSON and CSV are read; 422 the
    estimator fails on instances that keep to the contract.
    """
    reader = READERS.get(_media_type(content_type or JSON))
    if reader is None:
        return 415, _error(
            "UnsupportedMediaType", f"content type {content_type!r} is none of {', '.join(READERS)}"
        )
    if not _accepts_json(accept):
        return 406, _error("NotAcceptable", f"answers are {JSON}; {accept!r} excludes it")
    try:
        columns = reader(model.contract, body.encode() if isinstance(body, str) else bytes(body))
    except InvalidInstances as error:
        return 400, _refusal("InvalidRequest", [asdict(problem) for problem in error.problems])
    try:
        scores = model.score(columns)
    except UnusableEstimator as error:
        return 422, _refusal("UnusableEstimator", _unscorable(model, columns) or [_problem(str(error))])
    predictions = predictions_of(model.contract, scores, model.threshold)
    return 200, json.dumps({"predictions": predictions}, ensure_ascii=False)


def transform_fn(model: Model, body: bytes | str, content_type: str, accept: str) -> Response:
    """Answer one request for SageMaker's stack, which passes a flask.Response through with its status."""
    from flask import Response  # noqa: PLC0415 - scoring as a program needs no web framework

    status, text = answer(model, body, content_type, accept)
    return Response(text, status=status, mimetype=JSON)


def batches_of_split(folder: Path, contract: Contract, names: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Read columns of a prepared split piece by piece; see `batches_of`.

    Args:
        names: of the contract's features, its target, or ROW_KEY.

    Raises:
        EmptyData, SchemaChanged, UnreadableData: see `batches_of`, of all that the contract learns from; or
            a column holds another type than the contract says.
    """
    held = [column.name for column in contract.features] + [contract.target, ROW_KEY]
    kinds = types_of(folder, held)
    for column in contract.features:
        if str(kinds[column.name]) not in PARQUET_TYPES[column.type]:
            raise SchemaChanged(
                f"{folder.name}: column {column.name!r} is {kinds[column.name]}, the contract says "
                f"{column.type}."
            )
    yield from batches_of(folder, names)


def batches_of(folder: Path, names: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Read columns of prepared Parquet piece by piece, rows in the parts' order; one empty where none.

    A piece has up to BATCH_ROWS rows and about BATCH_CELLS values: memory doesn't grow with the table.

    Raises:
        EmptyData, SchemaChanged, UnreadableData: see `types_of`.
    """
    import pyarrow  # noqa: PLC0415 - serving reads no Parquet
    import pyarrow.parquet  # noqa: PLC0415

    kinds = types_of(folder, names)
    rows = max(1, min(BATCH_ROWS, BATCH_CELLS // len(names)))
    empty = True
    for part in _parts(folder):
        try:
            # Read ahead, Arrow keeps all that it has read of a file until the last piece.
            with pyarrow.parquet.ParquetFile(part, pre_buffer=False, buffer_size=FETCH_BYTES) as file:
                empty = empty and not file.metadata.num_rows
                yield from file.iter_batches(rows, columns=list(names))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise _unreadable(part, folder, error) from error
    if empty:
        yield pyarrow.RecordBatch.from_arrays([pyarrow.array([], kinds[name]) for name in names], list(names))


def types_of(folder: Path, names: Sequence[str]) -> dict[str, pyarrow.DataType]:
    """Return the types of columns of prepared Parquet.

    Raises:
        EmptyData: there is no Parquet in the folder.
        SchemaChanged: the Parquet lacks one of the columns, or its parts differ in their types.
        UnreadableData: a file is no Parquet.
    """
    import pyarrow  # noqa: PLC0415 - serving reads no Parquet
    import pyarrow.parquet  # noqa: PLC0415

    kinds: dict[str, pyarrow.DataType] = {}
    for part in _parts(folder):
        try:
            found = pyarrow.parquet.read_schema(part)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise _unreadable(part, folder, error) from error
        if missing := [name for name in names if name not in found.names]:
            raise SchemaChanged(f"{folder.name}/{part.name} lacks the contract's column(s) {missing}.")
        for name in names:
            if kinds.setdefault(name, found.field(name).type) != found.field(name).type:
                raise SchemaChanged(
                    f"the parts of {folder.name} differ in their types: {name!r} is {kinds[name]}, and "
                    f"{found.field(name).type} in {part.name}."
                )
    return kinds


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.rglob("*.parquet"))
    if not parts:
        raise EmptyData(f"the channel {folder.name!r} holds no Parquet file.")
    return parts


def _unreadable(part: Path, folder: Path, error: Exception) -> UnreadableData:
    return UnreadableData(f"{folder.name}/{part.name} is no Parquet: {error}")


def read_columns(folder: Path, names: Sequence[str]) -> pyarrow.Table:
    """Read whole columns of prepared Parquet; see `batches_of`."""
    import pyarrow  # noqa: PLC0415 - serving reads no Parquet

    return pyarrow.Table.from_batches(list(batches_of(folder, names)))


def columns_of(batch: pyarrow.RecordBatch, contract: Contract) -> dict[str, Any]:
    """Return the features in a piece of a prepared split as arrays; see `dropforge.domain.encoding`."""
    held = set(batch.schema.names)
    return {
        column.name: (labels_of if column.type in ("category", "text") else numbers_of)(
            batch.column(column.name)
        )
        for column in contract.features
        if column.name in held
    }


def labels_of(values: pyarrow.Array) -> Labels:
    """Return a column's values as they are, without an object per row."""
    encoded = values.dictionary_encode()
    codes = _in_memory(encoded.indices, np.int32)
    return Labels(
        tuple(encoded.dictionary.to_pylist()),
        np.where(_is_missing(encoded.indices), np.int32(-1), codes) if encoded.null_count else codes,
    )


def numbers_of(values: pyarrow.Array) -> NDArray[np.float64]:
    """Return a column's values as numbers, see `dropforge.domain.encoding`; NaN where one is missing."""
    import pyarrow  # noqa: PLC0415 - serving reads no Parquet

    if pyarrow.types.is_boolean(values.type):
        values = values.cast(pyarrow.uint8())
    elif pyarrow.types.is_timestamp(values.type):
        values = values.cast(pyarrow.timestamp("us", "UTC")).cast(pyarrow.int64())
    if values.type != pyarrow.float64():
        # An integer beyond 2**53 rounds, which a safe cast would refuse.
        values = values.cast(pyarrow.float64(), safe=False)
    numbers = _in_memory(values, np.float64)
    return np.where(_is_missing(values), np.nan, numbers) if values.null_count else numbers


def row_keys_of(batch: pyarrow.RecordBatch) -> NDArray[np.uint64]:
    """Return the keys of a piece's rows."""
    return _in_memory(batch.column(ROW_KEY), np.uint64)


def _in_memory(values: pyarrow.Array, kind: type[np.generic]) -> NDArray[Any]:
    """Return the values as they lie in memory, anything where one is missing.

    Not `to_numpy`, which imports pandas where that is installed: longer than scoring takes.
    """
    if not len(values):
        return np.empty(0, dtype=kind)
    return np.frombuffer(values.buffers()[1], dtype=kind)[values.offset :][: len(values)]


def _is_missing(values: pyarrow.Array) -> NDArray[np.bool_]:
    if not values.null_count:
        return np.zeros(len(values), dtype=bool)
    bits = np.unpackbits(np.frombuffer(values.buffers()[0], dtype=np.uint8), bitorder="little")
    return bits[values.offset :][: len(values)] == 0


def score_split(model: Model, folder: Path) -> dict[str, Any]:
    """Score a prepared split: row_key uint64 (n,), scores as `Model` gives them, classes str (k,)."""
    names = [column.name for column in model.contract.features]
    keys, scores = [], []
    for batch in batches_of_split(folder, model.contract, [*names, ROW_KEY]):
        keys.append(row_keys_of(batch).copy())  # else it would hold the whole piece
        scores.append(model.score(columns_of(batch, model.contract)))
    return {
        "row_key": np.concatenate(keys),
        "scores": np.concatenate(scores),
        "classes": np.array(model.contract.classes or (), dtype=np.str_),
    }


def _error(kind: str, problem: str) -> str:
    return _refusal(kind, [_problem(problem)])


def _refusal(kind: str, problems: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"error": {"type": kind, "problems": problems}}, ensure_ascii=False)


def _problem(text: str, instance: int | None = None) -> dict[str, Any]:
    return {"instance": instance, "column": None, "problem": text}


def _unscorable(model: Model, columns: ColumnArrays) -> list[dict[str, Any]]:
    """Return which instances fail where each is scored alone; of many none is tried."""
    found = []
    count = len(next(iter(columns.values())))
    for row in range(count if count <= TRIED_ALONE else 0):
        try:
            model.score({name: values[row : row + 1] for name, values in columns.items()})
        except UnusableEstimator as error:
            found.append(_problem(str(error), row))
    return found


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _accepts_json(accept: str | None) -> bool:
    accepted = {_media_type(part) for part in (accept or JSON).split(",")}
    return bool(accepted & {JSON, "application/*", "*/*", ""})


def main(arguments: list[str]) -> int:
    """Score a split and write it to a file; problems go to standard error as ``ErrorClass: message``."""
    parser = argparse.ArgumentParser(prog="inference.py")
    score = parser.add_subparsers(dest="command", required=True).add_parser("score")
    for name in ("--model", "--data", "--out"):
        score.add_argument(name, type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        scored = score_split(model_fn(str(options.model)), options.data)
    except DropforgeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    with options.out.open("wb") as file:
        np.savez(file, **scored)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
