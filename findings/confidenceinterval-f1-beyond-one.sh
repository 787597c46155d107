#!/usr/bin/env bash
# confidenceinterval 1.0.5: the interval of an f1 reaches beyond 1, and that of a perfect order excludes its own value 1.
#
# Expected: five positives in 100 rows, ordered perfectly, give an AUC of 1 with limits of 1 and 1, as DeLong's variance is 0
# then. Seen: value and both limits are 0.99999994, so the "interval" has no width and 1 lies outside. An f1 of 0.889 (4 of 5
# found, none false) has the limits 0.668 and 1.110; the macro f1 of a perfect classifier, 0.861 to 1.139: the delta method's
# normal limits are never cut. A recall of 4 in 5 is 0.79999998, since 1e-7 is added to what is divided by.
# statsmodels 0.15.0 beside it: of 0 trials Agresti-Coull, Jeffreys and binom_test give an interval, beta, Wilson and normal NaN.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  confidenceinterval==1.0.5 statsmodels==0.15.0 scikit-learn==1.9.1
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import math
from importlib.metadata import version

import confidenceinterval as ci
import numpy as np
from statsmodels.stats.proportion import proportion_confint

assert (version("confidenceinterval"), version("statsmodels")) == ("1.0.5", "0.15.0")
target = np.array([0] * 95 + [1] * 5)
score = 0.1 + 0.8 * target

value, (low, high) = ci.roc_auc_score(target, score)
print("auc of a perfect order", float(value), float(low), float(high))
assert low == high < 1

label = target.copy()
label[-1] = 0
value, (low, high) = ci.f1_score(target, label, average="binary")
print("f1 of 4 in 5", float(value), float(low), float(high))
assert high > 1.1

value, (low, high) = ci.f1_score(target, target, average="macro")
print("macro f1 of a perfect classifier", float(value), float(low), float(high))
assert high > 1.13

recall, _ = ci.tpr_score(target, label)
print("recall of 4 in 5", float(recall))
assert 0.7999999 < recall < 0.8

limits = {
    method: proportion_confint(0, 0, method=method)
    for method in ("normal", "agresti_coull", "beta", "wilson", "jeffreys", "binom_test")
}
print("a share of no trials", {name: tuple(map(float, each)) for name, each in limits.items()})
assert {name for name, each in limits.items() if math.isnan(each[0])} == {"normal", "beta", "wilson"}
PYTHON
