#!/usr/bin/env bash
# fairlearn 0.15.0: a group without positives makes a perfect classifier as unfair as can be, or perfectly fair.
#
# Guess: such a group has no true positive rate, and is left out or NaN with a warning. Seen: its true positive rate is 0,
# so equalized_odds_difference and equal_opportunity_difference of predictions that are all right go from 0 to 1, their
# ratios from 1 to 0. Its false negative rate is 0 as well, so by the same errors counted from the other side
# (false_negative_rate_difference) the groups are equal. Rates of one group that should add up to 1 add up to 0.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fairlearn==0.15.0 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import fairlearn
import numpy as np
from fairlearn import metrics

assert fairlearn.__version__ == "0.15.0"
truth = np.array([1, 0] * 60 + [0] * 30)
group = np.array(["a"] * 60 + ["b"] * 60 + ["c"] * 30)
differences = ["equalized_odds_difference", "equal_opportunity_difference", "false_negative_rate_difference"]
ratios = ["equalized_odds_ratio", "equal_opportunity_ratio"]
for name in differences + ratios:
    measure = getattr(metrics, name)
    two = float(measure(truth[:120], truth[:120], sensitive_features=group[:120]))
    three = float(measure(truth, truth, sensitive_features=group))
    print(f"{name}: two groups {two}, with one without positives {three}")
    if name == "false_negative_rate_difference":
        assert (two, three) == (0.0, 0.0)
    else:
        assert (two, three) == ((0.0, 1.0) if name in differences else (1.0, 0.0))
held, missed = metrics.true_positive_rate(truth[120:], truth[120:]), metrics.false_negative_rate(truth[120:], truth[120:])
print(f"the group by itself: true positive rate {held}, false negative rate {missed}")
assert held + missed == 0
print("as recorded")
PYTHON
