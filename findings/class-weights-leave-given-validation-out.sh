#!/usr/bin/env bash
# scikit-learn 1.9.1: class_weight of HistGradientBoosting weighs a validation set that it splits off, not one it is given.
#
# Guess: X_val and y_val are judged as the part that early stopping splits off by itself. Seen: fitted with
# class_weight="balanced", the part split off counts by class and stops training after about 25 rounds; rows given as
# X_val count one each, the loss of the common class decides, and training goes on for about 85 rounds, where the weighted
# loss of the same rows is 0.87, where 0.53 was to be had. sample_weight_val has to repeat the class weights.
# A class_weight by the labels' names ({"yes": 10, "no": 1}) is refused, as the names are looked for among 0 and 1.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import sklearn
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

assert sklearn.__version__ == "1.9.1"
rows, label = make_classification(6_000, weights=[0.95], random_state=0, flip_y=0.05)
settings = {"class_weight": "balanced", "max_iter": 200, "early_stopping": True, "random_state": 0}
train, train_label, held, held_label = rows[:4_000], label[:4_000], rows[4_000:], label[4_000:]
weight = compute_sample_weight("balanced", held_label)
given = HistGradientBoostingClassifier(**settings).fit(train, train_label, X_val=held, y_val=held_label)
told = HistGradientBoostingClassifier(**settings).fit(
    train, train_label, X_val=held, y_val=held_label, sample_weight_val=weight
)
split = HistGradientBoostingClassifier(**settings, validation_fraction=1 / 3).fit(rows, label)
shares = given.predict_proba(held)
plain, weighted = log_loss(held_label, shares), log_loss(held_label, shares, sample_weight=weight)
best = log_loss(held_label, told.predict_proba(held), sample_weight=weight)
print(f"rounds: split off {split.n_iter_}, given {given.n_iter_}, given with weights {told.n_iter_}")
print(f"given: says {-given.validation_score_[-1]:.3f}, plain loss {plain:.3f}, weighted {weighted:.3f}; told: {best:.3f}")
assert abs(-given.validation_score_[-1] - plain) < 1e-9 and abs(-told.validation_score_[-1] - best) < 1e-9
assert given.n_iter_ > 2 * told.n_iter_ and split.n_iter_ < 2 * told.n_iter_ and weighted > 1.3 * best
try:
    HistGradientBoostingClassifier(class_weight={"yes": 10, "no": 1}).fit(rows, np.where(label, "yes", "no"))
except ValueError as error:
    print(f"names: {error}")
    assert "are not in class_weight" in str(error)
else:
    raise SystemExit("names: fitted")
print("as recorded")
PYTHON
