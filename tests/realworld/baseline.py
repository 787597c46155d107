"""What ten lines of scikit-learn make of the raw file, on the hold-out that the product judged on."""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from dropforge.domain.contract import Contract
from dropforge.domain.metric_registry import Metric, metric_named
from dropforge.domain.metrics import Scored
from tests.realworld.pipeline import Result

RESAMPLES = 4000
RESAMPLES_AT_ONCE = 250
MINIMUM_TIMES = 0.9
"""Share of a column's texts from which on they are compared as points in time."""


class NotAligned(Exception):
    """The prepared rows can't be found in the raw file: values were changed."""


@dataclass(frozen=True)
class Comparison:
    """Product and baseline on the same rows, in the judged metric.

    Attributes:
        product, baseline: the metric of each.
        low, high: interval of product minus baseline (turned round where less is better), by a paired
            bootstrap of the hold-out's rows at the level asked for; None where it can't be taken.
    """

    product: float
    baseline: float
    low: float | None
    high: float | None

    @property
    def is_below(self) -> bool:
        """Whether the product is worse beyond noise."""
        return self.high is not None and self.high < 0


def compare(content: bytes, name: str, result: Result, level: float) -> Comparison:
    """Fit the baseline on the raw rows of training and validation, and score both on the test rows.

    Args:
        content: the dropped file.
        name: its name, for the separator and the compression.
        result: what the product made of it.
        level: of the interval, below 1.

    Raises:
        NotAligned: the prepared rows are not the raw file's.
    """
    raw = read_raw(content, name)
    contract = result.contract
    rows = align(raw, result.splits)
    fitted, tested = raw.iloc[sorted(rows["train"] + rows["validation"])], raw.iloc[rows["test"]]
    metric = metric_named(contract.task, str(result.metric["name"]))
    product = Scored(contract.task, result.target, result.scores)
    baseline = Scored(contract.task, result.target, _baseline_scores(fitted, tested, contract))
    low, high = _interval(product, baseline, metric, level)
    return Comparison(product.value(metric.name), baseline.value(metric.name), low, high)


def _interval(
    product: Scored, baseline: Scored, metric: Metric, level: float
) -> tuple[float | None, float | None]:
    """Of the product's gain over the baseline, rows being drawn for both at once."""
    rows = len(product.target)
    random = np.random.default_rng(0)
    gains = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        weights = random.multinomial(rows, [1 / rows] * rows, RESAMPLES_AT_ONCE).astype(np.float64)
        ours, theirs = (each.measure((metric.name,), weights)[metric.name] for each in (product, baseline))
        gains.append(metric.gain(ours, theirs))
    found = np.concatenate(gains)
    found = found[np.isfinite(found)]
    if len(found) < RESAMPLES / 2:
        return None, None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def read_raw(content: bytes, name: str) -> pd.DataFrame:
    """The file as pandas reads it, a nameless index column left out."""
    separator = "\t" if PurePath(name).suffix == ".tsv" else ","
    compression: Any = "gzip" if name.endswith(".gz") else None
    # The parser's own way to read a number is off by one in its last digits.
    options: dict[str, Any] = {
        "compression": compression,
        "float_precision": "round_trip",
        "low_memory": False,
    }
    frame = pd.read_csv(io.BytesIO(content), sep=separator, **options)
    if frame.shape[1] == 1:
        frame = pd.read_csv(
            io.BytesIO(content), sep=None, engine="python", compression=compression, quotechar="'"
        )
    nameless = [column for column in frame.columns if str(column).startswith("Unnamed: ")]
    return frame.drop(columns=nameless)


def align(raw: pd.DataFrame, splits: Mapping[str, pa.Table]) -> dict[str, list[int]]:
    """The raw row of each prepared row, by split, in the split's order.

    Rows that read alike may stand for each other: they are equal in everything that is compared.

    Raises:
        NotAligned: a prepared row is not found.
    """
    prepared = {name: table.to_pandas() for name, table in splits.items()}
    everything = pd.concat(prepared.values(), ignore_index=True)
    columns = [name for name in raw.columns if name in everything and _is_common(raw[name], everything[name])]
    if not columns:
        raise NotAligned(f"None of the columns {', '.join(map(str, raw.columns))} reads alike in both.")
    places: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
    for place, fingerprint in enumerate(_fingerprints(raw, columns)):
        places[fingerprint].append(place)
    found: dict[str, list[int]] = {}
    for name, frame in prepared.items():
        missing = 0
        found[name] = []
        for fingerprint in _fingerprints(frame, columns):
            if places[fingerprint]:
                found[name].append(places[fingerprint].popleft())
            else:
                missing += 1
        if missing:
            raise NotAligned(f"{missing:,} rows of the split '{name}' are not in the raw file.")
    return found


def _is_common(raw: pd.Series, prepared: pd.Series) -> bool:
    """Whether both read alike, so that the column ties rows together: placeholders are texts to pandas."""
    return not Counter(_texts(prepared)) - Counter(_texts(raw))


def _fingerprints(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(_texts(frame[name]) for name in columns), strict=True))


def _texts(column: pd.Series) -> list[str]:
    """Each value in one spelling for both sides: a number to 12 digits, a time in UTC, else the text."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    if column.dtype == object and not numbers.notna().any():
        times = pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
        if times.notna().mean() >= MINIMUM_TIMES:
            column = times
    return [
        ("" if math.isnan(number) else f"{number:.12g}") or ("" if pd.isna(value) else str(value).strip())
        for number, value in zip(numbers, column, strict=True)
    ]


def _baseline_scores(fitted: pd.DataFrame, tested: pd.DataFrame, contract: Contract) -> NDArray[np.float64]:
    """Gradient boosting with its defaults: numbers as they are, everything else as ordinal codes."""
    left_out = [name for name in (contract.target, contract.key) if name]
    features = [name for name in fitted.columns if name not in left_out]
    numbers = [name for name in features if pd.api.types.is_numeric_dtype(fitted[name])]
    others = [name for name in features if name not in numbers]
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1, min_frequency=2
    )
    columns = make_column_transformer(("passthrough", numbers), (encoder, others))
    target = fitted[contract.target]
    x_fitted = fitted[features].astype(dict.fromkeys(others, str))
    x_tested = tested[features].astype(dict.fromkeys(others, str))
    # OpenMP's threads wait actively: beside other work two of them are slower than one.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        if contract.classes is None:
            model = make_pipeline(columns, HistGradientBoostingRegressor(random_state=0))
            known = target.notna()
            model.fit(x_fitted[known], target[known].astype(float))
            return np.asarray(model.predict(x_tested), dtype=np.float64)
        model = make_pipeline(columns, HistGradientBoostingClassifier(random_state=0))
        codes = {text: code for code, text in enumerate(contract.classes)}
        labels = np.array([codes.get(text, -1) for text in _class_texts(target, codes)])
        known = labels >= 0
        model.fit(x_fitted[known], labels[known])
        scores = np.zeros((len(x_tested), len(codes)))
        scores[:, model.classes_] = model.predict_proba(x_tested)
    return scores


def _class_texts(column: pd.Series, codes: Mapping[str, int]) -> list[str]:
    """Labels as the contract spells them: a whole number without a point, for example."""
    texts = []
    for value in column:
        text = str(value).strip()
        whole = f"{value:.0f}" if isinstance(value, float) and math.isfinite(value) else text
        spellings = (text, text.lower(), whole)
        texts.append(next((each for each in spellings if each in codes), text))
    return texts
