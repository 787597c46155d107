#!/usr/bin/env bash
# polars 2.1.0: the quantile of integers is none of them, also where an element is asked for.
#
# Expected: with interpolation "lower", "higher" or "nearest" a quantile is one of the values, as numpy 2.4.6,
# pandas 3.1.1 and pyarrow 26.0.1 give it. Seen: polars gives a float, which beyond 2^53 is another number: 15 less
# here, so that rows from the boundary on are five more than asked for. Of datetimes polars gives the exact moment.
# Who splits rows by an id or a count of nanoseconds takes the boundary from sorted values.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 pandas==3.1.1 pyarrow==26.0.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

values = [2**60 + 3 * step + 1 for step in range(101)]
wanted = values[90]
found = {}
for how in ("lower", "higher", "nearest"):
    found = {
        "numpy": np.quantile(np.array(values), 0.9, method=how),
        "pandas": pd.Series(values).quantile(0.9, interpolation=how),
        "pyarrow": pc.quantile(pa.array(values), q=0.9, interpolation=how)[0].as_py(),
        "polars": pl.Series(values).quantile(0.9, how),
    }
    print(how, {name: f"{value!r}, off by {int(value) - wanted}" for name, value in found.items()})
    assert all(int(found[name]) == wanted for name in ("numpy", "pandas", "pyarrow"))
    assert isinstance(found["polars"], float)
    assert int(found["polars"]) == wanted - 15
from_boundary = sum(value >= int(found["polars"]) for value in values)
print(f"rows from the boundary on: {from_boundary}, of which {len(values) - 90} were asked for")
assert from_boundary == len(values) - 90 + 5
assert pl.__version__ == "2.1.0"
print("as recorded")
PYTHON
