#!/usr/bin/env bash
# NannyML 0.13.1's data reconstruction drift: all six columns move by three standard deviations, and no alert comes.
#
# Expected: the multivariate detector finds at least what any column shows by itself. Seen: it rebuilds rows from the
# first principal components (65 % of the variance). Columns that go together by 0.5 move along the very components
# that are kept, so the error stays: about as many alerts as without drift, while each column's Wasserstein distance
# alarms in every chunk. With two columns that don't go together, all components are kept, the error is rounding
# (1e-16), and it alarms in every chunk for a shift of one standard deviation all the same.
# The package doesn't name statsmodels among its requirements, and isn't importable without.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export NML_DISABLE_USAGE_LOGGING=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nannyml==0.13.1 pandas==3.1.1
if "$work/venv/bin/python" -c 'import nannyml' 2> "$work/error"; then echo "statsmodels is required now"; exit 1; fi
tail -1 "$work/error"
grep -q "No module named 'statsmodels'" "$work/error"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check statsmodels==0.15.0 pandas==3.1.1
"$work/venv/bin/python" - <<'PYTHON' 2> /dev/null
import nannyml
import numpy as np
import pandas as pd

assert nannyml.__version__ == "0.13.1"
random = np.random.default_rng(0)


def rows(count, columns, common, shift):
    together = random.normal(size=(count, 1)) * common**0.5
    values = together + random.normal(size=(count, columns)) * (1 - common) ** 0.5 + shift
    return pd.DataFrame(values, columns=[f"x{place}" for place in range(columns)])


def alerts(columns, common, shift):
    """Share of 40 windows of 500 rows with an alert, by reconstruction and by the first column; the mean error."""
    reference, later = rows(5_000, columns, common, 0.0), rows(20_000, columns, common, shift)
    names = list(reference.columns)
    whole = nannyml.DataReconstructionDriftCalculator(column_names=names, chunk_size=500).fit(reference)
    single = nannyml.UnivariateDriftCalculator(
        column_names=names[:1], chunk_size=500, continuous_methods=["wasserstein"]
    ).fit(reference)
    found = whole.calculate(later).filter(period="analysis").to_df()["reconstruction_error"]
    alone = single.calculate(later).filter(period="analysis").to_df()[names[0]]["wasserstein"]
    return float(found["alert"].mean()), float(alone["alert"].mean()), float(found["value"].mean())


quiet, moved, pair = alerts(6, 0.5, 0.0), alerts(6, 0.5, 3.0), alerts(2, 0.0, 1.0)
print(f"six columns, no shift: {quiet[0]:.1%} of the windows; shift of three: {moved[0]:.1%}, one column by itself {moved[1]:.1%}")
print(f"two columns, shift of one: {pair[0]:.1%} of the windows, at an error of {pair[2]:.0e}")
assert quiet[0] <= 0.15 and moved[0] <= 0.15 and moved[1] == 1.0
assert pair[0] >= 0.9 and pair[2] < 1e-14
print("as recorded")
PYTHON
