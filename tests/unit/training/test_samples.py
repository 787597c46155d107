from __future__ import annotations

import csv
import subprocess
import sys

import pytest
from sklearn import datasets

from dropforge_ops.stack.samples import SAMPLES, write_samples


def test_every_sample_is_the_whole_data_set(tmp_path):
    paths = write_samples(tmp_path)
    assert [path.name for path in paths] == ["breast-cancer.csv", "wine.csv", "diabetes.csv"]
    for path, sample in zip(paths, SAMPLES.values(), strict=True):
        data = getattr(datasets, f"load_{sample.name.replace('-', '_')}")()
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header == ["id", *data.feature_names, sample.target]
        assert len(rows) == sample.rows == len(data.target)
        assert [[float(cell) for cell in row[1:-1]] for row in rows] == data.data.tolist()
        named = data.target if sample.task == "regression" else data.target_names[data.target]
        assert [row[-1] for row in rows] == [str(value) for value in named]
        assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]


def test_targets_are_written_by_name(tmp_path):
    labels = {}
    for path in write_samples(tmp_path, ["breast-cancer", "wine"]):
        with path.open(newline="") as file:
            labels[path.stem] = {row[-1] for row in list(csv.reader(file))[1:]}
    assert labels == {"breast-cancer": {"malignant", "benign"}, "wine": {"class_0", "class_1", "class_2"}}


def test_a_second_write_gives_the_same_bytes(tmp_path):
    (first,), (second,) = (write_samples(tmp_path / name, ["wine"]) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_unknown_sample_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"iris; there are breast-cancer, wine, diabetes"):
        write_samples(tmp_path, ["iris"])


def test_nobody_waits_for_scikit_learn_to_load(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom dropforge_ops.stack.samples import write_samples\n"
        "write_samples(Path(sys.argv[1]))\n"
        "print({'sklearn', 'scipy', 'numpy', 'pandas'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", program, tmp_path], text=True) == "set()\n"
