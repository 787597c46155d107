"""Records that are stored or travel by their fields alone: the same bytes as in the releases before."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from dropforge.application.await_decision import Decision
from dropforge.application.labelled_predictions import LabelledWindow
from dropforge.domain.batch import RejectedRow, RowProblem
from dropforge.domain.chunks import Scan, Span
from dropforge.domain.drift.classifier import DomainClassifier
from dropforge.domain.instance_rules import Problem
from dropforge.domain.ports import ObjectRef
from dropforge.domain.preparing import Example, Recurrence
from dropforge.domain.records import Approval
from dropforge.domain.run_manifest import ManifestObject
from dropforge.domain.triggers import Drop

REF = ObjectRef("b", "drops/a.csv", "v1", "e1", 120)
OF_REF = '"bucket": "b", "key": "drops/a.csv", "version_id": "v1", "etag": "e1"'
WRITTEN_AT = "2026-01-02T03:04:05.000Z"


@pytest.mark.parametrize(
    ("record", "stored"),
    [
        (REF, f'{{{OF_REF}, "size": 120}}'),
        (
            Drop("b", "drops/a.csv", "v1", "e1", "0065", 120, WRITTEN_AT),
            f'{{{OF_REF}, "sequencer": "0065", "size": 120, "written_at": "{WRITTEN_AT}"}}',
        ),
        (
            Span(REF, 3, 0, 100, is_last=False, is_rough=True),
            f'{{"ref": {{{OF_REF}, "size": 120}}, "number": 3, "start": 0, "end": 100, "is_last": false, '
            '"is_rough": true}',
        ),
        (
            Scan(4, 9, open_if_outside=True),
            '{"if_outside": 4, "if_inside": 9, "open_if_outside": true, "open_if_inside": null}',
        ),
        (Example("s3://b/a", 7, "x"), '{"source": "s3://b/a", "row": 7, "value": "x"}'),
        (Recurrence("s3://b/a", "s3://b/b", 3), '{"source": "s3://b/a", "later": "s3://b/b", "rows": 3}'),
        (RowProblem("range", "age", "-1"), '{"rule": "range", "column": "age", "value": "-1"}'),
        (Problem(0, "age", "is missing"), '{"instance": 0, "column": "age", "problem": "is missing"}'),
        (
            DomainClassifier(0.7, 0.6, 0.01, 500, 2000),
            '{"auc": 0.7, "threshold": 0.6, "p_value": 0.01, "window_rows": 500, "baseline_rows": 2000}',
        ),
        (
            LabelledWindow("2026-01-01", "2026-01-02", "2026-01-03"),
            '{"predicted_from": "2026-01-01", "since": "2026-01-02", "until": "2026-01-03"}',
        ),
        (
            Decision(Approval.APPROVED, 2, "arn:ann", "good"),
            '{"decision": "approved", "version": 2, "by": "arn:ann", "reason": "good"}',
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_records_fields_are_its_stored_form(record: Any, stored: str) -> None:
    assert json.dumps(asdict(record)) == stored


def test_records_of_records_keep_their_form() -> None:
    row = RejectedRow(4, "id-4", (RowProblem("range", "age", None),))
    assert json.dumps(row.to_dict()) == (
        '{"row": 4, "id": "id-4", "problems": [{"rule": "range", "column": "age", "value": null}]}'
    )
    assert json.dumps(ManifestObject(REF, "d1", is_new=True, written_at=WRITTEN_AT).to_dict()) == (
        f'{{{OF_REF}, "size": 120, "drop_id": "d1", "is_new": true, "written_at": "{WRITTEN_AT}"}}'
    )
