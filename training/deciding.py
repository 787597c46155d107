"""Chooses the decision threshold of two classes, on rows that the scoring model has not learned from."""

from __future__ import annotations

from typing import Any

import numpy as np

import inference
from dropforge.domain.contract import Contract
from dropforge.domain.decision_goal import Wish
from dropforge.domain.decision_threshold import DecisionThreshold, choose
from fitting import Fitting

FOLDS = 5

ENOUGH_OF_A_CLASS = 1000
"""Rows of the rarer class among the validation rows from which on these alone decide."""


def chosen_threshold(
    wish: Wish | None, contract: Contract, fitting: Fitting, first: Any, seed: int
) -> DecisionThreshold | None:
    """Return the threshold for the model that is fitted last, on training and validation rows together.

    It is chosen by models like that one. Each was fitted on four fifths of these rows and scores the others,
    out of fold: few validation rows say little about a threshold, and all rows together much more. The first
    model's scores of the validation rows alone decide where these are enough, where the estimator stays as
    it is, where each of several instances has some of the rows, and where time splits the rows, since folds
    would mix the future in. No hold-out row is looked at.

    Args:
        wish: what the threshold is to serve; without it there is none.
        first: the estimator that was fitted on the training rows; it is not changed.

    Raises:
        InvalidDecisionGoal: the target hasn't two classes, or not the one that is looked for.
    """
    if wish is None:
        return None
    positive = wish.positive_of(contract.task, contract.classes, contract.target)
    code = (contract.classes or ()).index(positive)
    matrix, target = fitting.validation
    enough = min((target == each).sum() for each in (0, 1)) >= ENOUGH_OF_A_CLASS
    if fitting.is_refitted(first) and fitting.has_folds and not enough and contract.time is None:
        scores = np.full(len(fitting.target), np.nan)
        for estimator, held_out, rows in fitting.out_of_fold(first, FOLDS, seed):
            predict = inference.predictor_of(estimator, contract)
            scores[rows] = np.concatenate([predict(piece)[:, code] for piece in held_out if len(piece)])
        scored = np.isfinite(scores)
        if scored.any():
            return choose(wish.goal, positive, scores[scored], fitting.target[scored] == code, "out-of-fold")
    scores = inference.predictor_of(first, contract)(matrix)[:, code]
    return choose(wish.goal, positive, scores, target == code, "validation")
