#!/usr/bin/env bash
# CatBoost 1.2.10: the same fit twice gives the same predictions and never the same bytes.
#
# The same rows, seed and one thread. Guess: pickles are equal, as those of LightGBM 4.7.0 and XGBoost 3.4.1 are. Seen: each
# fit stores a name by chance (model_guid) and the second at which it ended (train_finish_time) in the model's metadata, and
# no parameter turns that off: digests, caches and registries that go by content take a repeated fit for another model. Both
# can be overwritten through get_metadata(), which sets as well as reads: then the pickles are equal. With another
# thread_count predictions stay equal to the bit, and the bytes don't, since that parameter is stored too.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check catboost==1.2.10 lightgbm==4.7.0 xgboost-cpu==3.4.1 \
  scikit-learn==1.9.1 numpy==2.5.1 pandas==2.2.3
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import pickle

import catboost
import numpy as np
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

random = np.random.default_rng(0)
rows = random.normal(size=(500, 4))
target = (rows[:, 0] + rows[:, 1] > 0).astype(int)


def fitted(threads):
    settings = {"iterations": 30, "random_seed": 0, "verbose": False, "allow_writing_files": False}
    return catboost.CatBoostClassifier(**settings, thread_count=threads).fit(rows, target)


def same_bytes(*models):
    return len({pickle.dumps(model) for model in models}) == 1


def same_answers(*models):
    return len({model.predict_proba(rows).tobytes() for model in models}) == 1


for build in (LGBMClassifier, XGBClassifier):
    more = {"verbose": -1} if build is LGBMClassifier else {}
    twice = [build(n_estimators=30, random_state=0, n_jobs=1, **more).fit(rows, target) for _ in range(2)]
    print(f"{build.__name__}: same answers {same_answers(*twice)}, same bytes {same_bytes(*twice)}")
    assert same_answers(*twice) and same_bytes(*twice)

first, second, third = fitted(1), fitted(1), fitted(2)
print(f"CatBoost {catboost.__version__}: same answers {same_answers(first, second, third)}, "
      f"same bytes {same_bytes(first, second)}")
assert same_answers(first, second, third) and not same_bytes(first, second)
for model in (first, second, third):
    told = model.get_metadata()
    told["model_guid"] = told["train_finish_time"] = ""
print(f"metadata overwritten: same bytes {same_bytes(first, second)}, of two threads {same_bytes(first, third)}")
assert same_bytes(first, second) and not same_bytes(first, third)
assert same_answers(first, pickle.loads(pickle.dumps(second)))
print("as recorded")
PYTHON
