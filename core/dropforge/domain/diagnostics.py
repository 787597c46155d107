"""What a reviewer looks at beyond the metrics: curves of both models on the hold-out, as small plain numbers.

``diagnostics.json`` lies beside ``judgement.json``, which holds its digest: whoever decides by the one is
bound to the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.compiled import TOLERANCE
from dropforge.domain.decision_threshold import DecisionThreshold, operating_points
from dropforge.domain.holdout import HoldOut
from dropforge.domain.metrics import Scored, confusion_matrix, roc_curve

FORMAT = 1
FILE_NAME = "diagnostics.json"

ROC_CLASSES = 12
"""Most frequent classes of a multiclass task that get a curve of their own: more can't be told apart."""

BINS = 10
ROWS_PER_BIN = 10
"""A calibration's bins are of equal counts; a small hold-out gets fewer of them, at least one."""

POINTS = 500
"""Points of the residual plot: those of the lowest row keys, which are hashes, so a fixed random sample."""

OPERATING_POINTS = 200
"""Decision thresholds of which the errors are counted: a slider and a curve of so many steps look smooth."""

SCORE_BINS = 40
RESIDUAL_BINS = 24
CONFUSION_CLASSES = 50
"""Most frequent classes that a confusion matrix names; the rest are counted together."""

_Z95 = 1.959964

Floats = NDArray[np.float64]


def diagnostics(holdout: HoldOut, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``diagnostics.json``. The same arguments give the same content.

    Args:
        holdout: both models' predictions; without rows, or where some are not finite, there are no curves.
        report: ``training_report.json``, of which the importance of the features and the search of
            hyperparameters are taken.
    """
    champion = holdout.of_champion()
    return {
        "format": FORMAT,
        "task": holdout.task,
        "classes": None if holdout.classes is None else list(holdout.classes),
        "rows": len(holdout.target),
        "candidate": _curves(holdout, holdout.of_candidate(), holdout.threshold),
        "champion": None if champion is None else _curves(holdout, champion, holdout.champion_threshold),
        "importance": _importance(report),
        **({"tuning": report["tuning"]} if report.get("tuning") else {}),
    }


def _importance(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what shuffling each feature costs of the metric, the most important feature first."""
    found = report.get("importance")
    if not isinstance(found, Mapping):
        return None
    features: list[dict[str, Any]] = [
        {"name": str(name), "mean": float(each["mean"]), "deviation": float(each["deviation"])}
        for name, each in found.items()
        if isinstance(each, Mapping) and _is_number(each.get("mean")) and _is_number(each.get("deviation"))
    ]
    features.sort(key=lambda each: (-each["mean"], each["name"]))
    learned = report.get("learned") or {}
    for each in features:
        if each["name"] in learned:
            each["learned"] = list(learned[each["name"]])
    # Releases that fitted the training rows alone measured it on the validation rows, and named no split.
    split = report.get("importance_split", "validation")
    return {"metric": report.get("metric"), "split": split, "features": features}


def unhelpful(importance: Mapping[str, Any]) -> list[str]:
    """Name the features of which shuffling costs no more than it varies: nothing shows that they help.

    Args:
        importance: of ``diagnostics.json``.
    """
    return [str(each["name"]) for each in importance["features"] if each["mean"] <= each["deviation"]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _curves(holdout: HoldOut, scored: Scored, threshold: DecisionThreshold | None) -> dict[str, Any] | None:
    scores = scored.scores
    if not len(scores) or not np.isfinite(scores).all() or not np.isfinite(holdout.target).all():
        return None
    if holdout.classes is None:
        return {
            "calibration": _regression_calibration(holdout.target, scores),
            "residuals": _residuals(holdout, scores),
        }
    curves = {
        "roc": _roc(holdout, scored),
        "calibration": _calibration(holdout, scored),
        "confusion": _confusion(holdout, scored),
    }
    if holdout.task != "binary":
        return curves
    return {
        **curves,
        "operating": _operating(holdout, scored, threshold),
        "scores_by_class": _scores_by_class(scored),
    }


def _roc(holdout: HoldOut, scored: Scored) -> list[dict[str, Any]]:
    """Return a curve per class, one against the rest; of a binary task the positive class's."""
    classes = holdout.classes or ()
    if holdout.task == "binary":
        codes = [1]
    else:
        counts = np.bincount(holdout.target, minlength=len(classes))
        codes = sorted(np.argsort(-counts, kind="stable")[:ROC_CLASSES].tolist())
    curves = []
    for code in codes:
        false_rates, true_rates = roc_curve(scored, of_class=code)
        curves.append(
            {
                "class": classes[code],
                "false_positive_rate": _rounded(false_rates),
                "true_positive_rate": _rounded(true_rates),
            }
        )
    return curves


def _calibration(holdout: HoldOut, scored: Scored) -> list[dict[str, Any]]:
    """Compare what was predicted with what came true, in bins of equal counts of the predicted probability.

    Of a binary task the probability is the positive class's; of a multiclass task that of the predicted
    class (Guo et al. 2017, On Calibration of Modern Neural Networks).
    """
    if holdout.task == "binary":
        predicted, happened = scored.scores[:, 1], holdout.target == 1
    else:
        predicted, happened = scored.scores.max(axis=1), scored.labels == holdout.target
    points = []
    for rows in _bins(predicted):
        hits = int(happened[rows].sum())
        low, high = wilson_interval(hits, len(rows))
        points.append(
            {
                "predicted": float(predicted[rows].mean()),
                "observed": hits / len(rows),
                "low": low,
                "high": high,
                "rows": len(rows),
            }
        )
    return points


def _operating(holdout: HoldOut, scored: Scored, threshold: DecisionThreshold | None) -> dict[str, Any]:
    """Count what decision thresholds would call right and wrong, at OPERATING_POINTS of them at most.

    Half of these lie at even shares of the positives, which are few where thresholds matter most, and half
    at even shares of all rows; so a curve through them has no long gap. The model's own is among them, and
    0.5. The rest follows from the counts: precision, recall, the confusion matrix, and what errors cost.
    """
    positive, scores = scored.target == 1, scored.scores[:, 1]
    thresholds, called, hits = operating_points(scores, positive)
    own = None
    if threshold is not None:
        own = threshold.value if threshold.positive == holdout.positive else 1 - threshold.value
    beside = [0.5, *(() if own is None else (own,))]
    if len(thresholds) > OPERATING_POINTS - len(beside):
        shares = np.linspace(0, 1, OPERATING_POINTS // 2 - 1)
        kept = [np.searchsorted(-counts, -counts[0] * shares) for counts in (hits, called)]
        thresholds = thresholds[np.unique(np.minimum(np.concatenate(kept), len(thresholds) - 1))]
    thresholds = np.unique(np.concatenate([thresholds, beside]))
    order = np.argsort(scores, kind="stable")
    places = np.searchsorted(scores[order], thresholds - TOLERANCE)
    below = np.concatenate([[0], np.cumsum(positive[order])]).astype(np.int64)
    hits = below[-1] - below[places]
    return {
        "threshold": own,
        "thresholds": thresholds.tolist(),
        "true_positives": hits.tolist(),
        "false_positives": (len(scores) - places - hits).tolist(),
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
    }


def _scores_by_class(scored: Scored) -> dict[str, Any]:
    """Count the rows of either class by the probability of the positive one, in SCORE_BINS even bins."""
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    scores = np.clip(scored.scores[:, 1], 0, 1)
    counts = [np.histogram(scores[scored.target == code], edges)[0].tolist() for code in (0, 1)]
    return {
        "edges": [round(edge, 6) for edge in edges.tolist()],
        "negatives": counts[0],
        "positives": counts[1],
    }


def _regression_calibration(target: Floats, predicted: Floats) -> list[dict[str, Any]]:
    """Compare the mean predicted with the mean true value in bins of equal counts of the prediction."""
    points = []
    for rows in _bins(predicted):
        mean = float(target[rows].mean())
        error = _Z95 * float(target[rows].std(ddof=1)) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0
        points.append(
            {
                "predicted": float(predicted[rows].mean()),
                "observed": mean,
                "low": mean - error,
                "high": mean + error,
                "rows": len(rows),
            }
        )
    return points


def _bins(values: Floats) -> list[NDArray[np.intp]]:
    size = max(1, min(BINS, len(values) // ROWS_PER_BIN))
    return [rows for rows in np.array_split(np.argsort(values, kind="stable"), size) if len(rows)]


def _confusion(holdout: HoldOut, scored: Scored) -> dict[str, Any]:
    """Return counts, rows being true classes and columns predicted ones."""
    classes = holdout.classes or ()
    cells = confusion_matrix(scored)
    labels = list(classes)
    if len(classes) > CONFUSION_CLASSES:
        frequent = np.sort(np.argsort(-cells.sum(axis=1), kind="stable")[: CONFUSION_CLASSES - 1])
        place = np.full(len(classes), CONFUSION_CLASSES - 1)
        place[frequent] = np.arange(CONFUSION_CLASSES - 1)
        merged = np.zeros((CONFUSION_CLASSES, CONFUSION_CLASSES), dtype=np.int64)
        np.add.at(merged, (place[:, None], place[None, :]), cells)
        cells, labels = merged, [*(classes[code] for code in frequent), "(other classes)"]
    return {"labels": labels, "counts": cells.tolist()}


def _residuals(holdout: HoldOut, scores: Floats) -> dict[str, Any]:
    """Return sampled points of true value less prediction, and how the residuals of all rows are spread."""
    residuals = holdout.target - scores
    sample = np.sort(np.argsort(holdout.row_key, kind="stable")[:POINTS])
    low, high = np.quantile(residuals, (0.005, 0.995))
    if high <= low:
        low, high = float(residuals.min()) - 0.5, float(residuals.max()) + 0.5
    edges = np.linspace(low, high, RESIDUAL_BINS + 1)
    # The few beyond the ends are counted at them, so that one outlier doesn't flatten the rest.
    counts, _ = np.histogram(np.clip(residuals, low, high), edges)
    return {
        "points": [[float(scores[row]), float(residuals[row])] for row in sample],
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "mean": float(residuals.mean()),
        "deviation": float(residuals.std()),
    }


def wilson_interval(hits: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927), which stays in [0, 1] and holds for few rows.

    >>> tuple(round(each, 3) for each in wilson_interval(0, 10))
    (0.0, 0.278)
    """
    share, square = hits / rows, _Z95**2
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    half = _Z95 / (1 + square / rows) * math.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _rounded(values: Floats) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
