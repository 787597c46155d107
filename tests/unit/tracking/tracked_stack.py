"""Runs, versions and what they left, as a tracker is told of them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from tests.fakes.records import BUCKET, a_run, a_version, at

from dropforge.domain import manifest
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import ObjectMissing
from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, ModelVersion, Run, RunStatus, Stage
from dropforge.tracking.telling import Source

CONTRACT = Contract(
    target="diagnosis",
    key="id",
    task="binary",
    classes=("benign", "malignant"),
    columns=(
        Column("id", "integer", "key"),
        Column("radius", "number", nullable=True),
        Column("count", "integer"),
        Column("children", "integer", nullable=True),
        Column("smoker", "boolean"),
        Column("site", "category", nullable=True),
        Column("seen at", "timestamp"),
        Column("diagnosis", "category", "target"),
    ),
)
INTERVAL = {"value": 0.9, "low": 0.8, "high": 0.95}
JUDGEMENT: Mapping[str, Any] = {
    "verdict": "accepted",
    "accepted": True,
    "rows": 55,
    "metric": {"name": "auc", "threshold": 0.7, "positive_class": "malignant", **INTERVAL},
    "compared": {
        "auc": {"greater_is_better": True, "candidate": INTERVAL, "champion": None, "difference": None},
        "log_loss": {"greater_is_better": False, "candidate": {"value": None, "low": None, "high": None}},
    },
    "slices": [{"slice": "site (a/b)", "label": "left..", "rows": 12, **INTERVAL}],
}
REPORT: Mapping[str, Any] = {
    "data_version": "d" * 64,
    "contract_hash": CONTRACT.hash,
    "rows": {"read": 100, "kept": 90},
    "splits": {"test": {"rows": 55}},
}


def an_archive(*, files: Mapping[str, bytes] = {}, libraries: Mapping[str, str] | None = None) -> bytes:
    """A model.tar.gz whose model.json lists what it holds."""
    content = {"contract.json": CONTRACT.to_json().encode(), "model.joblib": b"pickle", **files}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    told = {
        "format": manifest.FORMAT,
        "run_id": "run-1",
        "files": digests,
        "model_digest": manifest.model_digest(digests),
        "libraries": libraries
        or {"python": "3.12.1", "numpy": "2.5.1", "scikit-learn": "1.9.0", "pyarrow": "25.0.0"},
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in {**content, manifest.FILE_NAME: json.dumps(told).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@dataclass
class TrackedStack:
    """Runs and versions in memory, with their documents and archives by URI."""

    runs: list[Run] = field(default_factory=list)
    models: list[ModelVersion] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    card: bytes = b"a card"

    def trained(self, number: int, **changes: Any) -> ModelVersion:
        """A run that became a version."""
        run = a_run(
            f"run-{number}",
            status=RunStatus.AWAITING_APPROVAL,
            started_at=iso(at(100 * number)),
            version=number,
            source_commit="c" * 40 + "-dirty",
        )
        archive = an_archive(files={"note": str(number).encode()})
        place = f"s3://{BUCKET}/models/{run.run_id}/job/output/model.tar.gz"
        digest = hashlib.sha256(archive).hexdigest()
        lineage = {
            "model_sha256": digest,
            "model_data_url": place,
            "contract_hash": CONTRACT.hash,
            "hyperparameters": {"metric": "auto", "champion_sha256": "0" * 64},
            "libraries": {"numpy": "2.5.1"},
            "run": {"data_version": "d" * 64, "code_sha256": "e" * 64},
        }
        self.objects[place] = archive
        self._left(run.run_id, judgement=JUDGEMENT, lineage=lineage)
        model = a_version(
            number,
            run_id=run.run_id,
            registered_at=iso(at(100 * number + 30)),
            model_data_url=f"s3://{BUCKET}/registered/{run.run_id}/model.tar.gz",
            model_sha256=digest,
            **changes,
        )
        self.objects[model.model_data_url] = archive
        self.runs.append(run)
        self.models.append(model)
        return model

    def failed(self, number: int) -> Run:
        """A run whose data could not be used."""
        run = a_run(
            f"run-{number}",
            status=RunStatus.FAILED,
            started_at=iso(at(100 * number)),
            ended_at=iso(at(100 * number + 5)),
            error={"class": "MissingTarget", "message": "the target is not there."},
        )
        self._left(run.run_id)
        self.runs.append(run)
        return run

    def decided(self, number: int, approval: Approval, stage: Stage) -> None:
        self.models = [
            replace(each, approval=approval, stage=stage, decided_by="ann", decision_reason="good")
            if each.version == number
            else each
            for each in self.models
        ]

    def source(self) -> Source:
        return Source(
            "churn", "model", BUCKET, self._content, self._download, lambda _: {"card.md": self.card}
        )

    def _left(self, run_id: str, **documents: Any) -> None:
        self.objects[f"s3://{BUCKET}/runs/{run_id}/report.json"] = json.dumps(REPORT).encode()
        self.objects[f"s3://{BUCKET}/runs/{run_id}/contract/schema.json"] = CONTRACT.to_json().encode()
        for name, content in documents.items():
            self.objects[f"s3://{BUCKET}/models/{run_id}/{name}.json"] = json.dumps(content).encode()

    def _content(self, uri: str) -> Any:
        found = self.objects.get(uri)
        return None if found is None else json.loads(found)

    def _download(self, uri: str, file: BinaryIO) -> None:
        if uri not in self.objects:
            raise ObjectMissing(f"There is no object {uri}.")
        file.write(self.objects[uri])
