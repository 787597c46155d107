#!/usr/bin/env bash
# treelite 4.8.1 takes a category that scikit-learn's boosting never saw for "another one", scikit-learn for missing.
#
# Guess: what is imported exactly for the rows of the fit is exact for any row, those with a code that no row of the fit
# had included, which HistGradientBoosting takes for missing. Seen, with a tenth of the category missing in the fit:
# known codes and missing values agree within 1e-12, and an unseen code doesn't. scikit-learn answers just what it answers
# for a missing value; treelite follows the branch of "not in this set", which gives probabilities that are wrong by 0.5
# and another label in 15 % of the rows. Codes below zero are such, too.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check treelite==4.8.1 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import sklearn
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier

assert (sklearn.__version__, treelite.__version__) == ("1.9.1", "4.8.1")
warnings.simplefilter("ignore")
random = np.random.default_rng(0)
number, code = random.normal(size=4_000), random.integers(0, 12, 4_000).astype(float)
label = ((code % 3 == 0) ^ (number > 0)).astype(int)


def answers(model, rows):
    taken = treelite.gtil.predict(treelite.sklearn.import_model(model), rows).reshape(len(rows), -1)[:, -1]
    return model.predict_proba(rows)[:, 1], taken


codes = np.where(random.random(4_000) < 0.1, np.nan, code)
rows = np.column_stack([number, codes])
model = HistGradientBoostingClassifier(max_iter=20, categorical_features=[1], random_state=0).fit(rows, label)
own, taken = answers(model, rows)
missing, taken_missing = answers(model, np.column_stack([number, np.full(4_000, np.nan)]))
print(f"rows of the fit: largest difference {np.abs(own - taken).max():.0e}, missing {np.abs(missing - taken_missing).max():.0e}")
assert np.abs(own - taken).max() < 1e-12 and np.abs(missing - taken_missing).max() < 1e-12
for unseen in (12.0, 200.0, -1.0):
    own, taken = answers(model, np.column_stack([number, np.full(4_000, unseen)]))
    gap, others = np.abs(own - taken).max(), np.mean((own > 0.5) != (taken > 0.5))
    print(f"code {unseen:g}: largest difference {gap:.2f}, {others:.0%} of the labels")
    assert np.array_equal(own, missing)
    assert gap > 0.3 and others > 0.1
print("as recorded")
PYTHON
