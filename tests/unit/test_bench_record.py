"""What `make bench` keeps of its figures."""

from __future__ import annotations

import json

import numpy as np
from bench.record import Result, append


def test_a_goal_that_numpy_compared_is_kept_as_any_other(tmp_path):
    path = tmp_path / "bench.json"
    ours, theirs = np.float64(1.0), np.float64(2.0)
    append([Result("cost", ours, "likelier class", theirs, ours / theirs, "< 1", ours < theirs)], path)
    (kept,) = json.loads(path.read_text())
    assert (kept["met"], kept["ratio"]) == (True, 0.5)


def test_a_figure_of_the_same_name_is_replaced(tmp_path):
    path = tmp_path / "bench.json"
    for value in (1.0, 2.0):
        append([Result("cost", value, None, None, None, "< 3", met=True)], path)
    assert [each["ours"] for each in json.loads(path.read_text())] == [2.0]
