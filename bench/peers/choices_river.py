"""Child of `bench choices`: how often River's detectors alarm on a stream of one distribution."""

from __future__ import annotations

import json
import sys

import numpy as np
from river import drift

DETECTORS = {
    "KSWIN": lambda seed: drift.KSWIN(seed=seed),
    "ADWIN": lambda seed: drift.ADWIN(),
    "PageHinkley": lambda seed: drift.PageHinkley(),
}


def main() -> None:
    streams, length, seed = map(int, sys.argv[1:])
    found = {}
    for name, made in DETECTORS.items():
        alarms = 0
        for number in range(streams):
            detector = made(number)
            for value in np.random.default_rng([seed, number]).normal(size=length).tolist():
                detector.update(value)
                alarms += bool(detector.drift_detected)
        found[name] = alarms / streams
    print(json.dumps(found))


if __name__ == "__main__":
    main()
