"""Fits the linear models on a table that is read in pieces, as scikit-learn fits them on a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from streamed_boosting import Batches

Matrix = NDArray[np.float64]


def refit(
    estimator: Ridge | LogisticRegression,
    rows: Batches,
    design: Callable[[Matrix], Matrix],
    target: NDArray[Any],
) -> None:
    """Fit an estimator anew on all rows; it was fitted on a sample that holds every class.

    Ridge regression by its normal equations; logistic regression by L-BFGS with scikit-learn's objective and
    tolerance, which begins at the sample's solution and so needs few passes over the rows.

    Args:
        design: maps rows of the matrix to what the estimator is fitted on.
        target: float64 values, or codes of classes: (n,).
    """
    if isinstance(estimator, Ridge):
        _refit_ridge(estimator, _designed(rows, design, target))
        return
    classes = np.asarray(estimator.classes_)
    n_outputs = 1 if len(classes) == 2 else len(classes)
    penalty = 1.0 / (estimator.C * len(rows))

    def objective(flat: Matrix) -> tuple[float, Matrix]:
        weights = flat.reshape(n_outputs, -1)
        loss, gradient = 0.0, np.zeros_like(weights)
        for matrix, labels in _designed(rows, design, target):
            codes = np.searchsorted(classes, labels)
            raw = matrix @ weights[:, :-1].T + weights[:, -1]
            each, errors = _binary(raw, codes) if n_outputs == 1 else _multinomial(raw, codes)
            loss += each
            gradient[:, :-1] += errors.T @ matrix
            gradient[:, -1] += errors.sum(axis=0)
        gradient /= len(rows)
        gradient[:, :-1] += penalty * weights[:, :-1]
        squares = float((weights[:, :-1] ** 2).sum())
        return loss / len(rows) + 0.5 * penalty * squares, gradient.reshape(-1)

    start = np.hstack([estimator.coef_, np.reshape(estimator.intercept_, (-1, 1))])
    found = minimize(
        objective,
        start.reshape(-1),
        method="L-BFGS-B",
        jac=True,
        options={
            "maxiter": estimator.max_iter,
            "maxls": 50,
            "gtol": estimator.tol,
            "ftol": 64 * np.finfo(float).eps,
        },
    )
    weights = found.x.reshape(n_outputs, -1)
    estimator.coef_, estimator.intercept_ = weights[:, :-1].copy(), weights[:, -1].copy()
    estimator.n_iter_ = np.array([found.nit], dtype=np.int32)


def _designed(
    rows: Batches, design: Callable[[Matrix], Matrix], target: NDArray[Any]
) -> Iterator[tuple[Matrix, NDArray[Any]]]:
    start = 0
    for batch in rows.batches():
        yield design(batch), target[start : start + len(batch)]
        start += len(batch)


def _refit_ridge(estimator: Ridge, pieces: Iterator[tuple[Matrix, NDArray[Any]]]) -> None:
    n, of_target, width = 0, 0.0, len(estimator.coef_)
    products, sums, with_target = np.zeros((width, width)), np.zeros(width), np.zeros(width)
    for matrix, target in pieces:
        n += len(matrix)
        products += matrix.T @ matrix
        sums += matrix.sum(axis=0)
        with_target += matrix.T @ target
        of_target += float(target.sum())
    means, mean = sums / n, of_target / n
    covariance = products - n * np.outer(means, means)
    covariance[np.diag_indices_from(covariance)] += estimator.alpha
    estimator.coef_ = solve(covariance, with_target - n * mean * means, assume_a="pos")
    estimator.intercept_ = mean - float(means @ estimator.coef_)


def _binary(raw: Matrix, codes: NDArray[np.intp]) -> tuple[float, Matrix]:
    """Return the sum of losses, and the derivatives by the raw scores (n, 1)."""
    signs = np.where(codes == 1, 1.0, -1.0)[:, np.newaxis]
    losses = np.logaddexp(0.0, -signs * raw)
    return float(losses.sum()), signs * np.expm1(-losses)


def _multinomial(raw: Matrix, codes: NDArray[np.intp]) -> tuple[float, Matrix]:
    """Return the sum of losses, and the derivatives by the raw scores (n, n_classes)."""
    given = (np.arange(len(raw)), codes)
    shifted = raw - raw.max(axis=1, keepdims=True)
    errors = np.exp(shifted)
    totals = errors.sum(axis=1, keepdims=True)
    loss = float((np.log(totals[:, 0]) - shifted[given]).sum())
    errors /= totals
    errors[given] -= 1.0
    return loss, errors
