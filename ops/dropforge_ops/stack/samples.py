"""Real data sets to try dropforge with: those that scikit-learn ships, as CSV."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

# Read as files: importing scikit-learn takes seconds, which nobody need wait for rows of numbers.
_FOLDER = "sklearn/datasets/data"

type Row = tuple[list[float], str | float]
"""A row's features and its target."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A data set and the parameters to deploy it with.

    Attributes:
        name: the CSV's name without extension.
        files: where scikit-learn keeps it: features and classes in one file, or features and values in two.
        features: the features' names, in the order of the file's columns.
        target: column to predict.
        key: column that identifies a row.
        task: binary, multiclass or regression.
        rows: how many there are.
        description: one sentence for people.
    """

    name: str
    files: tuple[str, ...]
    features: tuple[str, ...]
    target: str
    key: str
    task: str
    rows: int
    description: str

    @property
    def file_name(self) -> str:
        """The CSV's file name."""
        return f"{self.name}.csv"


_MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)

SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        Sample(
            "breast-cancer",
            ("breast_cancer.csv",),
            (
                *(f"mean {measure}" for measure in _MEASURES),
                *(f"{measure} error" for measure in _MEASURES),
                *(f"worst {measure}" for measure in _MEASURES),
            ),
            "diagnosis",
            "id",
            "binary",
            569,
            "Breast Cancer Wisconsin (Diagnostic): malignant or benign from 30 measures of cell nuclei.",
        ),
        Sample(
            "wine",
            ("wine_data.csv",),
            (
                "alcohol",
                "malic_acid",
                "ash",
                "alcalinity_of_ash",
                "magnesium",
                "total_phenols",
                "flavanoids",
                "nonflavanoid_phenols",
                "proanthocyanins",
                "color_intensity",
                "hue",
                "od280/od315_of_diluted_wines",
                "proline",
            ),
            "cultivar",
            "id",
            "multiclass",
            178,
            "Wine recognition: one of three cultivars from 13 chemical measures.",
        ),
        Sample(
            "diabetes",
            ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
            ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
            "progression",
            "id",
            "regression",
            442,
            "Diabetes: disease progression after a year from age, sex, body measures and six blood values.",
        ),
    )
}


def sample_names() -> list[str]:
    """The names, for a shell that completes."""
    return list(SAMPLES)


def write_samples(folder: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Write data sets as CSV into `folder`, all of SAMPLES by default. Returns the files in order.

    Every file has an ``id`` column (1, 2, …), the features under their own names and the target last; classes
    are written by name. A rerun writes the same bytes.

    Raises:
        ValueError: there is no data set of a name.
    """
    wanted = list(SAMPLES) if names is None else list(names)
    unknown = [name for name in wanted if name not in SAMPLES]
    if unknown:
        raise ValueError(f"no sample is called {', '.join(unknown)}; there are {', '.join(SAMPLES)}.")
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, SAMPLES[name]) for name in wanted]


def _write(folder: Path, sample: Sample) -> Path:
    path = folder / sample.file_name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([sample.key, *sample.features, sample.target])
        for number, (features, target) in enumerate(_rows(sample), start=1):
            writer.writerow([number, *features, target])
    return path


def _rows(sample: Sample) -> Iterator[Row]:
    """The rows as ``sklearn.datasets`` returns them."""
    kept = Path(str(distribution("scikit-learn").locate_file(_FOLDER)))
    if sample.task == "regression":
        features, targets = (_numbers(kept / name) for name in sample.files)
        return zip(_scaled(features), (value for (value,) in targets), strict=True)
    return _classified(kept / sample.files[0])


def _classified(path: Path) -> Iterator[Row]:
    """Rows of features and a class's number. The first line is: rows, columns, the classes' names."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        _, _, *names = next(rows)
        for *features, code in rows:
            yield [float(value) for value in features], names[int(code)]


def _numbers(path: Path) -> list[list[float]]:
    """The numbers of a file that has spaces between them."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [[float(value) for value in line.split()] for line in file]


def _scaled(rows: list[list[float]]) -> Iterator[list[float]]:
    """Each column centred, and divided so that its squares add up to 1."""
    columns = [_centred(column) for column in zip(*rows, strict=True)]
    return map(list, zip(*columns, strict=True))


def _centred(column: tuple[float, ...]) -> list[float]:
    # In scikit-learn's order, so that the last digits are its too: numpy adds up a column one by one.
    mean = _added(column) / len(column)
    deviation = math.sqrt(_added((value - mean) ** 2 for value in column) / len(column))
    return [(value - mean) / deviation / len(column) ** 0.5 for value in column]


def _added(values: Iterable[float]) -> float:
    total = 0.0
    for value in values:  # from 3.12 on, sum() makes up for what each addition rounds off
        total += value
    return total
