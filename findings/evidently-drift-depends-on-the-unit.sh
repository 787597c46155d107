#!/usr/bin/env bash
# Evidently 0.7.23: whether a column drifts depends on its unit.
#
# Expected: a shift of five standard deviations is drift, in volts as in microvolts. Seen: from 1,000 rows on, its
# default is the Wasserstein distance over the standard deviation, which is taken to be at least 0.001. The same values
# give 5.0 in one unit and 0.005 in another, below the limit of 0.1: small shares, rates per second and concentrations
# never drift. (With pandas 3.1.1, which a fresh installation gets, it can't be imported; here it runs on 2.3.3.)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check evidently==0.7.23 pandas==3.1.1
if "$work/venv/bin/python" -c 'import evidently' 2> "$work/error"; then echo "pandas 3 is supported now"; exit 1; fi
tail -1 "$work/error" | cut -d'(' -f1
grep -q "infer_dtype_from_object" "$work/error"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pandas==2.3.3
"$work/venv/bin/python" - <<'PYTHON' 2> /dev/null
import numpy as np
import pandas as pd
from evidently import Dataset, Report
from evidently.presets import DataDriftPreset

random = np.random.default_rng(0)
before, after = random.normal(size=2_000), random.normal(size=2_000) + 5.0
volts = pd.DataFrame({"volts": before}), pd.DataFrame({"volts": after})
small = pd.DataFrame({"volts": before * 1e-6}), pd.DataFrame({"volts": after * 1e-6})


def drift_of(reference, current):
    run = Report([DataDriftPreset()]).run(Dataset.from_pandas(current), Dataset.from_pandas(reference))
    count, column = run.dict()["metrics"]
    assert "Wasserstein distance (normed),threshold=0.1" in column["metric_name"], column["metric_name"]
    return float(column["value"]), int(count["value"]["count"])


seen = drift_of(*volts), drift_of(*small)
print(f"distance and columns that drift: {seen[0]}; a million times smaller: {seen[1]}")
assert seen[0][0] > 4.5 and seen[0][1] == 1
assert seen[1][0] < 0.01 and seen[1][1] == 0
print("as recorded")
PYTHON
