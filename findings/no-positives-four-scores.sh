#!/usr/bin/env bash
# A validation set without positives: LightGBM 4.7.0 calls any model perfect, CatBoost 1.2.10 worthless, XGBoost 3.4.1 NaN.
#
# Guess: area under the curve and average precision are NaN or an error, as there is nothing to order. Seen for 50 rows,
# all negative, in training's own metrics:
#   LightGBM      auc 1, average_precision 1: early stopping finds its best in the first round
#   CatBoost      AUC 0; PRAUC ends the training ("No element of a positive class"); Recall 1
#   XGBoost       auc and aucpr NaN
#   scikit-learn  1.9.1: roc_auc_score NaN with a warning, average_precision_score 0
# Where some folds hold no positives, lgb.cv's mean counts them as 1: noise alone gets an AUC of about 0.8 here.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check lightgbm==4.7.0 xgboost-cpu==3.4.1 catboost==1.2.10 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import warnings

import catboost
import lightgbm as lgb
import numpy as np
import xgboost as xgb
from sklearn.metrics import average_precision_score, roc_auc_score

assert (lgb.__version__, xgb.__version__, catboost.__version__) == ("4.7.0", "3.4.1", "1.2.10")
warnings.simplefilter("ignore")
random = np.random.default_rng(0)
rows, later, none = random.normal(size=(400, 3)), random.normal(size=(50, 3)), np.zeros(50)
label = (rows[:, 0] + random.normal(size=400) > 1).astype(int)

seen, data = {}, lgb.Dataset(rows, label)
settings = {"objective": "binary", "metric": ["auc", "average_precision"], "verbose": -1, "num_threads": 1}
stop = [lgb.record_evaluation(seen), lgb.early_stopping(5, verbose=False)]
model = lgb.train(settings, data, 50, valid_sets=[data.create_valid(later, none)], callbacks=stop)
print(f"LightGBM {dict(seen['valid_0'])}, best round {model.best_iteration}")
assert set(seen["valid_0"]["auc"]) == set(seen["valid_0"]["average_precision"]) == {1.0} and model.best_iteration == 1

seen = {}
settings = {"objective": "binary:logistic", "eval_metric": ["auc", "aucpr"], "nthread": 1}
xgb.train(settings, xgb.DMatrix(rows, label), 2, [(xgb.DMatrix(later, none), "v")], evals_result=seen, verbose_eval=False)
print(f"XGBoost {dict(seen['v'])}")
assert np.isnan([*seen["v"]["auc"], *seen["v"]["aucpr"]]).all()


def by_catboost(metric):
    options = {"iterations": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    fitted = catboost.CatBoostClassifier(eval_metric=metric, **options).fit(rows, label, eval_set=(later, none))
    return set(fitted.get_evals_result()["validation"][metric])


print(f"CatBoost AUC {by_catboost('AUC')}, Recall {by_catboost('Recall')}")
assert by_catboost("AUC") == {0.0} and by_catboost("Recall") == {1.0}
try:
    by_catboost("PRAUC")
except catboost.CatBoostError as error:
    print(f"CatBoost PRAUC: {error}")
    assert "No element of a positive class" in str(error)
else:
    raise SystemExit("CatBoost PRAUC: trained")
score = random.random(50)
assert np.isnan(roc_auc_score(none, score)) and average_precision_score(none, score) == 0.0

noise, chance = random.normal(size=(500, 3)), np.zeros(500)
chance[:200] = random.random(200) < 0.3
folds = [(np.setdiff1d(np.arange(500), held), held) for held in np.arange(500).reshape(5, 100)]
settings = {"objective": "binary", "metric": "auc", "verbose": -1, "num_threads": 1}
mean = lgb.cv(settings, lgb.Dataset(noise, chance), 5, folds=folds)["valid auc-mean"][-1]
print(f"noise, three folds of five without positives: mean AUC {mean:.2f}")
assert mean > 0.7
print("as recorded")
PYTHON
