"""Whether a window has drifted: every column, the predictions and all columns at once, at one rate."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.baseline import Baseline, CategoricalBaseline, Codes, ColumnBaseline
from dropforge.domain.drift.classifier import (
    DomainClassifier,
    classify,
    codes_at,
    drawn_columns,
    drawn_rows,
    usable,
)
from dropforge.domain.drift.distributions import normal_quantile
from dropforge.domain.drift.features import ColumnDrift, Values, compare, encoded
from dropforge.domain.drift.phases import TRAINING, PhaseReference
from dropforge.domain.drift.policy import WatchPolicy

QUIET, DRIFTED, NOT_ENOUGH_DATA, SILENCED = "quiet", "drifted", "not_enough_data", "silenced"
FEATURE, PREDICTION = "feature", "prediction"

Columns = Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class Assessed:
    """A column with what became of it among all others.

    `compared_with` is the whole of `training`, or its phase in training or in the past.
    """

    kind: str
    drift: ColumnDrift
    adjusted_p_value: float
    verdict: str
    compared_with: str = TRAINING

    def to_dict(self) -> dict[str, Any]:
        drift = self.drift
        return {
            "name": drift.name, "kind": self.kind, "type": drift.type, "verdict": self.verdict,
            "p_value": drift.p_value, "adjusted_p_value": self.adjusted_p_value, "rows": drift.rows,
            "missing": drift.missing, "compared_with": self.compared_with,
            "statistics": [each.to_dict() for each in drift.statistics],
            "distribution": None if drift.distribution is None else drift.distribution.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class Assessment:
    """The verdict on a window and all numbers behind it.

    Attributes:
        verdict: quiet, drifted or not_enough_data.
        rows: of the window.
        columns: features and predictions; empty without enough data.
        classifier: the domain classifier, None where it could not be trained; `classifier_adjusted` is its
            p-value among all.
        unwatched: columns that could not be compared, with the reason.
    """

    verdict: str
    rows: int
    columns: tuple[Assessed, ...] = ()
    classifier: DomainClassifier | None = None
    classifier_adjusted: float = 1.0
    unwatched: Mapping[str, str] = field(default_factory=dict)

    @property
    def least_probable(self) -> float:
        """The least corrected p-value of all; 1 without enough data."""
        counted = [each.adjusted_p_value for each in self.columns if each.verdict != SILENCED]
        return min([self.classifier_adjusted, *counted])

    @property
    def drifted(self) -> list[str]:
        """Names of the columns that have drifted, the least probable first."""
        hit = [each for each in self.columns if each.verdict == DRIFTED]
        return [each.drift.name for each in sorted(hit, key=lambda each: each.drift.p_value)]


def assess(
    columns: Columns, baselines: Sequence[ColumnBaseline], *, rows: int, policy: WatchPolicy,
    predictions: Columns | None = None, prediction_baseline: Baseline | None = None,
    silenced: Collection[str] = (), phase: PhaseReference | None = None,
) -> Assessment:  # fmt: skip
    """Judge a window. The same arguments give the same assessment.

    p-values are corrected over features, predictions and the domain classifier by Benjamini and Hochberg's
    procedure, so that a window without drift is called drifted with `policy.false_alarm_rate` at most.

    Args:
        columns: the window's features by name, each of length `rows`; None or NaN means missing. Each is
            asked for once and left before the next, so a mapping that reads a column when it is asked for it
            holds one at a time.
        baselines: of the live model's features.
        rows: of the window.
        predictions: the window's predictions as columns (`scores.columns_of_scores`).
        prediction_baseline: the profile of the predictions on the hold-out.
        silenced: names of features and predictions that are compared, but have no part in the verdict; the
            domain classifier doesn't see them.
        phase: what columns are compared with instead of their baselines, where a phase is known.

    Raises:
        InvalidProfile: the baseline contradicts itself.
    """
    if rows < policy.minimum_rows:
        return Assessment(NOT_ENOUGH_DATA, rows)
    unwatched: dict[str, str] = {}
    tasks: list[tuple[str, ColumnBaseline, Columns]] = []
    for baseline in baselines:
        if baseline.name not in columns:
            unwatched[baseline.name] = "the log doesn't hold this column"
        elif baseline.count + baseline.missing == 0:
            unwatched[baseline.name] = "the baseline has no rows"
        else:
            tasks.append((FEATURE, baseline, columns))
    for name in predictions or {}:
        known = prediction_baseline.columns.get(name) if prediction_baseline is not None else None
        if known is None or known.count == 0:
            unwatched[name] = "there is no profile of the predictions on the hold-out"
        else:
            tasks.append((PREDICTION, known, predictions or {}))
    of_phase = phase if phase is not None and phase.baselines else None
    seen = drawn_columns(
        [
            kind == FEATURE
            and usable(baseline)
            and baseline.name not in silenced
            and (of_phase is None or baseline.name in (of_phase.sample or {}))
            for kind, baseline, _ in tasks
        ],
        policy.seed,
    )
    compared = [
        baseline if of_phase is None else replace(baseline, sample=(of_phase.sample or {})[baseline.name])
        for (_, baseline, _), is_seen in zip(tasks, seen, strict=True)
        if is_seen
    ]
    counted = [baseline.name not in silenced for _, baseline, _ in tasks]
    sizes = {len(baseline.sample) for baseline in compared if baseline.sample is not None}
    hypotheses = sum(counted) + bool(compared)
    if not hypotheses:
        return Assessment(NOT_ENOUGH_DATA, rows, unwatched=unwatched)
    level = policy.false_alarm_rate / hypotheses
    drawn = drawn_rows(rows, policy.seed)
    drifts: list[ColumnDrift] = []
    codes: list[Codes] = []
    effects = [1.0]
    for (kind, baseline, source), is_seen in zip(tasks, seen, strict=True):
        if of_phase is not None:
            effects.append(of_phase.design_effect(kind, baseline.name, rows))
        drift, levels = _looked_at(
            baseline, baseline if of_phase is None else of_phase.baseline(kind, baseline),
            source[baseline.name], drawn if is_seen else None, design_effect=effects[-1], level=level,
            minimum_rows=policy.minimum_rows,
            seed=policy.seed + zlib.crc32(f"{kind} {baseline.name}".encode()),
        )  # fmt: skip
        drifts.append(drift)
        codes += levels
    level_z = normal_quantile(level)
    classifier = (
        classify(compared, codes, level_z=level_z, seed=policy.seed, design_effect=max(effects))
        if len(sizes) == 1
        else None
    )
    p_values = [drift.p_value for drift, counts in zip(drifts, counted, strict=True) if counts]
    if classifier is not None:
        p_values.append(classifier.p_value)
    adjusted = benjamini_hochberg(p_values)
    remaining = iter(adjusted)
    assessed = []
    for (kind, _, _), drift, counts in zip(tasks, drifts, counted, strict=True):
        p = next(remaining) if counts else min(1.0, drift.p_value * hypotheses)
        verdict = DRIFTED if p <= policy.false_alarm_rate else QUIET
        against = TRAINING if of_phase is None else of_phase.sources.get((kind, drift.name), TRAINING)
        assessed.append(Assessed(kind, drift, p, verdict if counts else SILENCED, against))
    return Assessment(
        verdict=DRIFTED if min(adjusted) <= policy.false_alarm_rate else QUIET,
        rows=rows,
        columns=tuple(assessed),
        classifier=classifier,
        classifier_adjusted=adjusted[-1] if classifier is not None else 1.0,
        unwatched=unwatched,
    )


def _looked_at(
    baseline: ColumnBaseline,
    reference: ColumnBaseline,
    values: Values,
    drawn: NDArray[np.int64] | None,
    *,
    design_effect: float,
    level: float,
    minimum_rows: int,
    seed: int,
) -> tuple[ColumnDrift, list[Codes]]:
    """Compare a column with its reference, and take its levels at the drawn rows if it is for the domain
    classifier, by its own baseline."""
    if isinstance(baseline, CategoricalBaseline):
        values = encoded(values)
    drift = compare(
        reference, values, level=level, minimum_rows=minimum_rows, seed=seed, design_effect=design_effect
    )
    return drift, [] if drawn is None else [codes_at(baseline, values, drawn)]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values; those at most q are rejected at the false discovery rate q.

    With no drift at all every rejection is false, so the chance of any rejection is at most q as well, for
    independent and for positively dependent tests (Benjamini and Hochberg 1995; Benjamini and Yekutieli
    2001).

    >>> benjamini_hochberg([0.01, 0.9, 0.02])
    [0.03, 0.9, 0.03]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return [float(value) for value in adjusted]
