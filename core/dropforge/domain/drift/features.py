"""One column of a window against its baseline: statistics, each with its place in its null distribution.

Several tests speak for a column: each gets a share of the column's false-alarm probability (a weighted
Bonferroni correction), so the column's p-value holds whatever the tests' dependence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift import counts
from dropforge.domain.drift.baseline import HASHED, CategoricalBaseline, ColumnBaseline, NumericBaseline
from dropforge.domain.drift.display import (
    Distribution,
    categorical_distribution,
    numeric_distribution,
)
from dropforge.domain.drift.distributions import (
    beta_binomial,
    kolmogorov_quantile,
    kolmogorov_tail,
)
from dropforge.domain.drift.ranked import Ordered, Ranked, ranked

MOST_BINS = 10
ROWS_PER_BIN = 10
"""Rows that the smaller sample has per bin at least; fewer rows get fewer bins."""

NUMERIC_SHARES: Mapping[str, float] = {
    "kolmogorov_smirnov": 0.5, "psi": 0.35, "missing_rate": 0.1, "out_of_domain_rate": 0.05
}  # fmt: skip
CATEGORICAL_SHARES: Mapping[str, float] = {"chi_square": 0.9, "missing_rate": 0.1}
MISSING_ONLY: Mapping[str, float] = {"missing_rate": 1.0}
"""Of what a column's false-alarm probability is spent on. Kolmogorov-Smirnov sees shifts, PSI what happens
in spread and tails. Statistics without a share are reported and decide nothing."""

_COUNTED = 1 << 16
"""Codes that are counted at once: copies of them stay in a core's cache."""

UNJUDGED_TYPES = ("timestamp", "text", HASHED)
"""Time moves on, hardly a text comes twice, and pseudonyms have no order: of these columns only the missing
rate is judged. What texts do to the model shows in its predictions, which are judged."""


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Texts of which few differ.

    Attributes:
        labels: the different ones.
        codes: signed integers (n,), which of them each row has; -1 where there is none.
    """

    labels: Sequence[str]
    codes: NDArray[np.signedinteger[Any]]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str | None:
        code = int(self.codes[row])
        return None if code < 0 else self.labels[code]

    def __iter__(self) -> Iterator[str | None]:
        return (self[row] for row in range(len(self)))

    def counted(self) -> dict[str, int]:
        """Return how often each label occurs; those that do."""
        found = np.zeros(len(self.labels) + 1, dtype=np.int64)
        for start in range(0, len(self.codes), _COUNTED):
            found += np.bincount(self.codes[start : start + _COUNTED] + 1, minlength=len(found))
        counted = zip(self.labels, found[1:].tolist(), strict=True)
        return {label: count for label, count in counted if count}


Values = Sequence[Any] | NDArray[Any] | EncodedTexts
"""The values of a window's column, row by row."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of one column.

    Attributes:
        value: as measured; `baseline` is the baseline's own value where there is such a thing.
        threshold: reached by chance with the probability that the test is given in this window.
        p_value: probability of such a value, or a farther one, by chance.
        share: of the column's false-alarm probability; 0 means that it is reported only.
    """

    name: str
    value: float
    threshold: float
    p_value: float
    share: float
    baseline: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "value": self.value, "baseline": self.baseline, "threshold": self.threshold,
            "p_value": self.p_value, "share": self.share,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What was found in one column. `p_value` is that of the whole column.

    `distribution` is there where the column's values were judged.
    """

    name: str
    type: str
    rows: int
    missing: int
    statistics: tuple[Statistic, ...]
    p_value: float
    distribution: Distribution | None = None

    def statistic(self, name: str) -> Statistic | None:
        return next((each for each in self.statistics if each.name == name), None)


def compare(
    baseline: ColumnBaseline,
    values: Values,
    *,
    level: float,
    minimum_rows: int,
    seed: int,
    design_effect: float = 1.0,
) -> ColumnDrift:
    """Compare one column of a window with its baseline.

    Args:
        baseline: of the column.
        values: of the window's rows: for a numeric column numbers (float64 (n,), NaN or None meaning
            missing), else texts, encoded or not, or booleans (None meaning missing).
        level: chance of a false alarm that the column is given; decides the thresholds.
        minimum_rows: values below which only the missing rate is judged.
        seed: of the simulations.
        design_effect: by how much the difference varies more than that of rows drawn at random, 1 or more:
            what is compared counts as so many times fewer rows (Rao and Scott 1981).
    """
    counted: Mapping[str, int] = {}
    present: Ranked = Ordered(np.empty(0, dtype=np.float64))
    rows = len(values)
    if isinstance(baseline, CategoricalBaseline):
        counted = encoded(values).counted()
        missing = rows - sum(counted.values())
    elif baseline.type in UNJUDGED_TYPES:
        missing = missing_values(values)
    else:
        present = ranked(as_numbers(values), baseline.values)
        missing = rows - len(present)
    enough = rows - missing >= minimum_rows and baseline.count >= minimum_rows
    judged = enough and baseline.type not in UNJUDGED_TYPES
    statistics: list[Statistic] = []
    shares, distribution = MISSING_ONLY, None
    if judged and isinstance(baseline, NumericBaseline):
        shares = NUMERIC_SHARES
        distribution = numeric_distribution(baseline, present)
        statistics += _numeric(baseline, present, level, seed, design_effect)
    elif judged and isinstance(baseline, CategoricalBaseline):
        shares = CATEGORICAL_SHARES
        distribution = categorical_distribution(baseline, counted)
        statistics += _categorical(baseline, counted, level, seed, design_effect)
    statistics.append(
        _missing(
            baseline, rows, missing, level * shares["missing_rate"], shares["missing_rate"], design_effect
        )
    )
    p_value = min(min(1.0, each.p_value / each.share) for each in statistics if each.share)
    return ColumnDrift(baseline.name, baseline.type, rows, missing, tuple(statistics), p_value, distribution)


def encoded(values: Values) -> EncodedTexts:
    """Return texts and booleans with equal ones counted as one."""
    if isinstance(values, EncodedTexts):
        return values
    places: dict[str, int] = {}
    texts = as_texts(values)
    codes = [-1 if text is None else places.setdefault(text, len(places)) for text in texts]
    return EncodedTexts(tuple(places), np.array(codes, dtype=np.int64))


def as_numbers(values: Values) -> NDArray[np.float64]:
    """Return float64 (n,), None becoming NaN."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64, copy=False)
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)


def present_numbers(values: Values) -> NDArray[np.float64]:
    """Return the numbers that are there, ascending."""
    ordered = np.sort(as_numbers(values))
    return ordered[: np.searchsorted(ordered, np.nan)]  # NaN comes last


def missing_values(values: Values) -> int:
    """Count None and NaN."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    return sum(v is None or v != v for v in values)  # noqa: PLR0124 - only NaN differs from itself


def as_texts(values: Values) -> list[str | None]:
    """Return the categories as the profile spells them: booleans are ``true`` and ``false``."""
    spelled = {True: "true", False: "false"}
    return [
        None if v is None else spelled[bool(v)] if isinstance(v, (bool, np.bool_)) else str(v) for v in values
    ]


def kolmogorov_distance(baseline: NumericBaseline, window: Ranked) -> float:
    """The greatest distance of the two distribution functions at the stored values and just below them.

    Just below a stored value the baseline's function is known where every value is stored; else it is taken
    to be where it is nearest to the window's. So this is never more than the exact two-sample distance, and
    less by what happens between two stored values.
    """
    at = window.upto(baseline.values) / len(window)
    below = window.below(baseline.values) / len(window)
    share = baseline.cumulative / baseline.count
    lower = np.append(0.0, share[:-1])
    upper = lower if baseline.complete else np.append(0.0, share[1:])
    left = np.maximum(below - upper, lower - below)
    return float(max(np.abs(at - share).max(), left.max()))


def binned(baseline: NumericBaseline, window: Ranked) -> tuple[counts.Counts, counts.Counts]:
    """Count baseline and window over bins of about equal counts in the baseline; int64 (n_bins,) each."""
    smaller = min(len(window), baseline.count)
    bounds, base = baseline.bins(max(2, min(MOST_BINS, smaller // ROWS_PER_BIN)))
    upto = window.upto(baseline.values)[np.searchsorted(baseline.values, bounds)]
    return base.astype(np.int64), np.diff(np.concatenate([[0], upto, [len(window)]]))


def _numeric(
    baseline: NumericBaseline, window: Ranked, level: float, seed: int, design_effect: float
) -> list[Statistic]:
    n, m = len(window), baseline.count
    effective = n * m / (n + m) / design_effect
    distance = kolmogorov_distance(baseline, window)
    share = NUMERIC_SHARES["kolmogorov_smirnov"]
    found = [
        Statistic(
            "kolmogorov_smirnov", distance,
            kolmogorov_quantile(level * share, effective), kolmogorov_tail(distance, effective), share,
        )
    ]  # fmt: skip
    found += _counted(*binned(baseline, window), NUMERIC_SHARES, level, seed, design_effect)
    outside = n - int(window.upto(baseline.values)[-1] - window.below(baseline.values)[0])
    share = NUMERIC_SHARES["out_of_domain_rate"]
    # Outside lie the window's values in two of the m + 1 gaps that m values leave, ties making them fewer.
    fewer = round(n / design_effect)
    null = beta_binomial(fewer, 2.0, max(m / design_effect - 1.0, 1.0))
    found.append(
        Statistic(
            "out_of_domain_rate", outside / n, null.upper_quantile(level * share) / fewer,
            null.upper_tail(round(outside / design_effect)), share, 0.0,
        )
    )  # fmt: skip
    return found


def _categorical(
    baseline: CategoricalBaseline,
    counted: Mapping[str, int],
    level: float,
    seed: int,
    design_effect: float,
) -> list[Statistic]:
    size = len(baseline.values)
    unseen = [count for label, count in counted.items() if label not in baseline.ranks]
    window = np.array([counted.get(label, 0) for label in baseline.values] + unseen, dtype=np.int64)
    # Rare categories were counted together if there were too many: unseen ones may be among them.
    if baseline.other:
        window = np.append(window[:size], window[size:].sum())
        base = np.append(baseline.counts, baseline.other)
    else:
        base = np.append(baseline.counts, np.zeros(len(unseen), dtype=np.int64))
    merged = counts.merge_rare(base, window.astype(np.int64), counts.LEAST_EXPECTED * design_effect)
    found = _counted(*merged, CATEGORICAL_SHARES, level, seed, design_effect)
    n, m = int(window.sum()), baseline.count
    outside = sum(unseen)
    # What occurs once among m tells how much does not occur at all (Good 1953).
    unlisted = baseline.other + int((baseline.counts == 1).sum())
    null = beta_binomial(n, unlisted + 1.0, max(m - unlisted, 1.0))
    found.append(
        Statistic(
            "out_of_domain_rate", outside / n, min(1.0, null.upper_quantile(level) / n),
            null.upper_tail(outside), 0.0, baseline.other / m,
        )
    )  # fmt: skip
    return found


def _counted(
    base: counts.Counts,
    window: counts.Counts,
    shares: Mapping[str, float],
    level: float,
    seed: int,
    design_effect: float,
) -> list[Statistic]:
    if design_effect > 1:
        base, window = (np.rint(each / design_effect).astype(np.int64) for each in (base, window))
    if len(base) < 2 or not base.sum() or not window.sum():
        return [Statistic(name, 0.0, 0.0, 1.0, shares.get(name, 0.0)) for name in counts.NAMES]
    weight = max(shares.get(name, 0.0) for name in counts.NAMES)
    found = counts.calibrate(base, window, level * weight, seed)
    return [
        Statistic(name, each.value, each.threshold, each.p_value, shares.get(name, 0.0))
        for name, each in found.items()
    ]


def _missing(
    baseline: ColumnBaseline, rows: int, missing: int, level: float, share: float, design_effect: float
) -> Statistic:
    """Fisher's exact test on how many rows have no value, two-sided by doubling the smaller tail.

    Its tails are beta-binomial: the window's rows below the (k + 1)-th, or k-th, of the baseline's k missing.
    """
    rate = missing / rows
    if design_effect > 1:
        rows, missing = max(1, round(rows / design_effect)), round(missing / design_effect)
    m, k = (round(each / design_effect) for each in (baseline.count + baseline.missing, baseline.missing))
    above = beta_binomial(rows, k + 1.0, m - k + 0.0) if k < m else None
    upper = 1.0 if above is None else above.upper_tail(missing)
    lower = 1.0 if k == 0 else beta_binomial(rows, float(k), m - k + 1.0).lower_tail(missing)
    threshold = 1.0 if above is None else min(1.0, above.upper_quantile(level / 2) / rows)
    return Statistic("missing_rate", rate, threshold, min(1.0, 2 * min(upper, lower)), share, k / max(m, 1))
