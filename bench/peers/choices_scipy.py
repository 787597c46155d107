"""Child of `bench choices`: how often SciPy's tests and the PSI alert where nothing has drifted."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
from scipy import stats

RATE = 0.01
COMMON_LIMIT = 0.1
"""From which on a PSI is usually called a change."""
SHARES = (0.35, 0.25, 0.2, 0.12, 0.08)


def one_sample(rng: np.random.Generator, rows: int, baseline_rows: int) -> float:
    """Pearson's test with the baseline's shares as if they were known exactly."""
    base = rng.multinomial(baseline_rows, SHARES)
    return float(stats.chisquare(rng.multinomial(rows, SHARES), base / baseline_rows * rows).pvalue)


def two_samples(rng: np.random.Generator, rows: int, baseline_rows: int) -> float:
    table = [rng.multinomial(baseline_rows, SHARES), rng.multinomial(rows, SHARES)]
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def ties(rng: np.random.Generator, rows: int, baseline_rows: int) -> float:
    """Kolmogorov and Smirnov's test on small counts, of which many are equal."""
    return float(stats.ks_2samp(rng.poisson(1.0, baseline_rows), rng.poisson(1.0, rows)).pvalue)


def anderson(rng: np.random.Generator, rows: int, baseline_rows: int) -> float:
    """The least p-value that Anderson and Darling's test can give: of samples without any overlap."""
    return float(stats.anderson_ksamp([np.arange(baseline_rows), 1e6 + np.arange(rows)]).pvalue)


def stability(rng: np.random.Generator, rows: int, baseline_rows: int) -> float:
    """The population stability index over ten bins of equal shares, by the usual formula."""
    base, now = (rng.multinomial(number, [0.1] * 10) + 0.5 for number in (baseline_rows, rows))
    base, now = base / base.sum(), now / now.sum()
    return float(((now - base) * np.log(now / base)).sum())


def main() -> None:
    warnings.simplefilter("ignore")
    runs, rows, seed = map(int, sys.argv[1:])
    found: dict[str, float] = {}
    for name, test in (
        ("chisquare, the baseline as known", one_sample),
        ("chi2_contingency", two_samples),
        ("ks_2samp, counts of mean 1", ties),
    ):
        for times in (1, 10, 100):
            rng = np.random.default_rng([seed, times])
            hits = sum(test(rng, rows, rows * times) <= RATE for _ in range(runs))
            found[f"{name}, baseline {times} times the window"] = hits / runs
    for size in (50, 100, 300, 1000):
        rng = np.random.default_rng([seed, size])
        above = [stability(rng, size, 20_000) > COMMON_LIMIT for _ in range(runs)]
        found[f"PSI above {COMMON_LIMIT:g}, 10 bins, window of {size} rows"] = float(np.mean(above))
    found["anderson_ksamp, least p-value"] = anderson(np.random.default_rng(seed), rows, rows)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
