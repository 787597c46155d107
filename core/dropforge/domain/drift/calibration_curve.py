"""A smooth curve through many rows, with the uncertainty of where it runs.

A line that may bend at knots, as little as the rows demand: each bend has a normal prior, whose width is the
one under which the rows are the most probable (empirical Bayes). Its posterior covariance is wide where there
are few rows, as it should be (Nychka 1988, Bayesian confidence intervals for smoothing splines).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Link = Literal["logit", "log", "identity"]

_KNOTS: Final = (0.04, 0.15, 0.35, 0.65, 0.85, 0.96)
"""Quantiles of the rows at which it may bend."""
_BENDS: Final = (0.02, 0.1, 0.3, 1.0, 3.0)
"""Standard deviations of a bend's prior among which the rows choose."""
_SHIFT: Final = 3.0
"""That of the prior of where the curve lies, about where the rows say that they lie."""
_GROUPS: Final = 400
_STEPS: Final = 40
_REACH: Final = 30.0


@dataclass(frozen=True)
class Curve:
    """A curve.

    Attributes:
        place, scale: standardise what it is a function of.
        knots: standardised, ascending.
        coefficients: level, slope and the bend at each knot; `covariance` is theirs.
    """

    place: float
    scale: float
    knots: Floats
    coefficients: Floats
    covariance: Floats

    def design(self, at: Floats) -> Floats:
        """Return float64 (n, p)."""
        x = (at - self.place) / self.scale
        bends = np.maximum(x[:, None] - self.knots, 0.0)
        return np.concatenate([np.ones((len(x), 1)), x[:, None], bends], axis=1)

    def at(self, x: Floats) -> Floats:
        """Return the curve's height, float64 (n,)."""
        result: Floats = self.design(x) @ self.coefficients
        return result

    def chance(self, odds: Floats) -> Floats:
        """Return the probability for a score's log odds, of a curve that was fitted by logit."""
        return logistic(odds + self.at(odds))

    def draws(self, x: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Return heights of curves that might be the true one, float64 (count, n)."""
        drawn = posterior_draws(self.coefficients, self.covariance, count, rng)
        result: Floats = drawn @ self.design(x).T
        return result

    def to_dict(self) -> dict[str, Any]:
        return {
            "place": self.place, "scale": self.scale, "knots": self.knots.tolist(),
            "coefficients": self.coefficients.tolist(), "covariance": self.covariance.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Curve:
        arrays = (np.array(raw[name], dtype=np.float64) for name in ("knots", "coefficients", "covariance"))
        return cls(float(raw["place"]), float(raw["scale"]), *arrays)


def logistic(odds: Floats) -> Floats:
    """Return the probabilities of log odds."""
    result: Floats = 1 / (1 + np.exp(-np.clip(odds, -_REACH, _REACH)))
    return result


def posterior_draws(coefficients: Floats, covariance: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return coefficients that might be the true ones, float64 (count, p)."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    result: Floats = coefficients + rng.normal(size=(count, len(values))) @ root.T
    return result


def fit(link: Link, x: Floats, response: Floats, precision: Floats | float = 1.0) -> Curve:
    """Fit a curve by penalised maximum likelihood.

    Args:
        link: ``logit`` of a share beside what `x` says as log odds (so 0 everywhere means that `x` is right),
            ``log`` of a positive quantity whose deviation is in proportion to it, ``identity`` of a mean.
        x, response: float64 (n,).
        precision: by row, the reciprocal of the response's variance; with ``log`` of its relative variance,
            with ``logit`` 1.
    """
    order = np.argsort(x, kind="stable")
    starts = np.unique(np.linspace(0, len(x), min(len(x), _GROUPS) + 1)[:-1].astype(np.int64))
    every = np.broadcast_to(np.asarray(precision, dtype=np.float64), x.shape)[order]
    weight = np.add.reduceat(every, starts)
    grouped = np.add.reduceat(every * x[order], starts) / weight
    mean = np.add.reduceat(every * response[order], starts) / weight
    place, scale = float(x.mean()), float(x.std()) or 1.0
    knots = np.unique((np.quantile(x, _KNOTS) - place) / scale)
    blank = Curve(place, scale, knots, np.empty(0), np.empty(0))
    design = blank.design(grouped)
    offset = grouped if link == "logit" else np.zeros_like(grouped)
    start = np.zeros(design.shape[1])
    if link == "log":
        start[0] = np.log(max(float(np.average(mean, weights=weight)), 1e-300))
    elif link == "identity":
        start[0] = float(np.average(mean, weights=weight))
    # Of a score the slope that would make it useless, or twice as sure, is one deviation away.
    slope = (
        scale if link == "logit" else (_SHIFT if link == "log" else max(float(mean.std()), 1e-12) * _SHIFT)
    )
    unit = 1.0 if link != "identity" else max(float(mean.std()), 1e-12)
    best: tuple[float, Floats, Floats] | None = None
    for bend in _BENDS:
        prior = 1 / np.array([_SHIFT * unit, slope, *[bend * unit] * len(knots)]) ** 2
        found = newton(link, design, offset, mean, weight, prior, start)
        if best is None or found[0] > best[0]:
            best = found
    assert best is not None  # noqa: S101
    return Curve(place, scale, knots, best[1], best[2])


def newton(
    link: Link, design: Floats, offset: Floats, mean: Floats, weight: Floats, prior: Floats, start: Floats
) -> tuple[float, Floats, Floats]:
    """Return the evidence (Laplace's approximation), the coefficients and their covariance."""

    def worth(coefficients: Floats) -> float:
        height = np.clip(offset + design @ coefficients, -700, 700)
        if link == "logit":
            likelihood = weight * (mean * height - np.logaddexp(0, height))
        elif link == "log":
            likelihood = -weight * (mean * np.exp(-height) + height)
        else:
            likelihood = -0.5 * weight * (mean - height) ** 2
        return float(likelihood.sum() - 0.5 * (prior * (coefficients - start) ** 2).sum())

    coefficients = start.copy()
    now = worth(coefficients)
    for _ in range(_STEPS):
        slope, curvature = derivatives(link, offset + design @ coefficients, mean, weight)
        hessian = (design * curvature[:, None]).T @ design + np.diag(prior)
        step = np.linalg.solve(hessian, design.T @ slope - prior * (coefficients - start))
        # A step that makes it worse is halved.
        for _ in range(20):
            then = worth(coefficients + step)
            if then >= now:
                break
            step = step / 2
        coefficients, gained, now = coefficients + step, then - now, max(then, now)
        if gained < 1e-8:
            break
    _, curvature = derivatives(link, offset + design @ coefficients, mean, weight)
    hessian = (design * curvature[:, None]).T @ design + np.diag(prior)
    evidence = now + 0.5 * float(np.log(prior).sum()) - 0.5 * float(np.linalg.slogdet(hessian)[1])
    return evidence, coefficients, np.linalg.inv(hessian)


def derivatives(link: Link, height: Floats, mean: Floats, weight: Floats) -> tuple[Floats, Floats]:
    if link == "logit":
        chance = logistic(height)
        return weight * (mean - chance), weight * chance * (1 - chance)
    if link == "log":
        relative = mean * np.exp(-np.clip(height, -700, 700))
        return weight * (relative - 1), weight * np.ones_like(height)
    return weight * (mean - height), weight
