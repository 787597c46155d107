"""Real data sets to try dropforge with: scikit-learn's built-in ones, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """A data set and the parameters to deploy it with.

    Attributes:
        name: the CSV's name without extension.
        loader: function of ``sklearn.datasets`` that returns it.
        target: column to predict.
        key: column that identifies a row.
        task: binary, multiclass or regression.
        rows: how many there are.
        description: one sentence for people.
    """

    name: str
    loader: str
    target: str
    key: str
    task: str
    rows: int
    description: str

    @property
    def file_name(self) -> str:
        """The CSV's file name."""
        return f"{self.name}.csv"


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        Sample(
            "breast-cancer",
            "load_breast_cancer",
            "diagnosis",
            "id",
            "binary",
            569,
            "Breast Cancer Wisconsin (Diagnostic): malignant or benign from 30 measures of cell nuclei.",
        ),
        Sample(
            "wine",
            "load_wine",
            "cultivar",
            "id",
            "multiclass",
            178,
            "Wine recognition: one of three cultivars from 13 chemical measures.",
        ),
        Sample(
            "diabetes",
            "load_diabetes",
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
    from sklearn import datasets  # noqa: PLC0415 - takes a second, which other commands needn't wait

    data = getattr(datasets, sample.loader)()
    targets: list[str | float] = data.target.tolist()
    if sample.task != "regression":
        # Wine's classes are called class_0 to class_2; the rest of the data is written as it is.
        targets = [str(data.target_names[code]) for code in data.target]
    path = folder / sample.file_name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([sample.key, *map(str, data.feature_names), sample.target])
        for number, (features, target) in enumerate(zip(data.data.tolist(), targets, strict=True), start=1):
            writer.writerow([number, *features, target])
    return path
