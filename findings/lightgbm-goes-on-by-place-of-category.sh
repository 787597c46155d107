#!/usr/bin/env bash
# LightGBM 4.7.0: refit and continued training take the new table's categories by place, not by name.
#
# The same rows, with the categories of the pandas column listed in another order. Guess: the model goes on by name, as it
# predicts and validates, or refuses. Seen: predict and a validation set are exact (error below 1e-5). refit(), which only
# sets new leaf values, sends each name to another name's leaves: the error is 10 where the target's spread is 6. Training
# goes on (init_model) from wrong predictions: after five more rounds the model is wrong by 1.7 on the new rows and on the
# rows that it had been exact on. Nothing is logged. XGBoost 3.4.1 stays exact on the new rows and on the old ones.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check lightgbm==4.7.0 xgboost-cpu==3.4.1 scikit-learn==1.9.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

assert (lgb.__version__, xgb.__version__) == ("4.7.0", "3.4.1")
names = ["ant", "bee", "cat", "dog"]
code = np.random.default_rng(0).integers(0, 4, 3_000)
target = np.array([0.0, 5.0, -5.0, 10.0])[code]


def rows(order):
    kind = pd.Categorical(np.array(names)[code], categories=order)
    return pd.DataFrame({"kind": kind, "place": np.arange(3_000) % 7})


def error(predicted):
    return float(np.sqrt(np.mean((predicted - target) ** 2)))


before, after = rows(names), rows(names[::-1])
settings = {"verbose": -1, "learning_rate": 0.3, "min_data_per_group": 1, "cat_smooth": 1, "num_threads": 1}
model = lgb.train(settings, lgb.Dataset(before, target), 40)
refitted = model.refit(after, target, decay_rate=0.5)
longer = lgb.train(settings, lgb.Dataset(after, target, free_raw_data=False), 5, init_model=model)
print(f"predict: {error(model.predict(before)):.0e}, other order {error(model.predict(after)):.0e}")
print(f"refit: {error(refitted.predict(after)):.2f}")
print(f"five more rounds: {error(longer.predict(after)):.2f}, on the old rows {error(longer.predict(before)):.2f}")
assert error(model.predict(before)) < 1e-5 and error(model.predict(after)) < 1e-5
assert error(refitted.predict(after)) > 5
assert error(longer.predict(after)) > 1 and error(longer.predict(before)) > 1

first, second = (xgb.DMatrix(table, target, enable_categorical=True) for table in (before, after))
other = xgb.train({"eta": 0.3, "nthread": 1}, first, 40)
on = xgb.train({"eta": 0.3, "nthread": 1}, second, 5, xgb_model=other)
print(f"XGBoost, five more rounds: {error(on.predict(second)):.0e}, on the old rows {error(on.predict(first)):.0e}")
assert error(on.predict(second)) < 1e-3 and error(on.predict(first)) < 1e-3
print("as recorded")
PYTHON
