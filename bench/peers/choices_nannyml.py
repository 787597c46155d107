"""Child of `bench choices`: how many of NannyML's univariate results alert where nothing has drifted."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pandas as pd


def main() -> None:
    warnings.simplefilter("ignore")
    import nannyml  # noqa: PLC0415 - warns as it is imported

    chunks, seed, *sizes = map(int, sys.argv[1:])
    names = [f"x{place}" for place in range(20)]
    found = {}
    for size in sizes:
        rng = np.random.default_rng([seed, size])
        reference, window = (
            pd.DataFrame({name: rng.normal(size=rows) for name in names}) for rows in (20_000, chunks * size)
        )
        calculator = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=size)
        result = calculator.fit(reference).calculate(window).filter(period="analysis").to_df()
        alerts = result.xs("alert", axis=1, level=2).to_numpy(dtype=bool)
        found[str(size)] = float(alerts.mean())
        found[f"{size}, of chunks"] = float(alerts.any(axis=1).mean())
        found["methods"] = ", ".join(sorted(set(result.columns.get_level_values(1)) - {"chunk"}))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
