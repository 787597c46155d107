from __future__ import annotations

from typing import Literal

import pytest

from dropforge.config import Settings
from dropforge.domain.errors import InvalidSettings


class ExampleSettings(Settings):
    data_bucket: str
    minimum_rows: int
    tolerance: float
    instance_types: tuple[str, ...]
    is_on: bool
    response: Literal["retrain", "notify"]
    id_column: str | None = None


ENVIRONMENT = {
    "DATA_BUCKET": "b",
    "MINIMUM_ROWS": "50",
    "TOLERANCE": "1e-2",
    "IS_ON": "True",
    "RESPONSE": "notify",
    "INSTANCE_TYPES": "a, b",
}


def test_reads_every_field_in_its_type():
    assert ExampleSettings.from_env(ENVIRONMENT) == ExampleSettings(
        "b", 50, 0.01, ("a", "b"), True, "notify", None
    )
    assert ExampleSettings.from_env({**ENVIRONMENT, "ID_COLUMN": "id"}).id_column == "id"


def test_takes_an_empty_variable_as_a_missing_one():
    assert ExampleSettings.from_env({**ENVIRONMENT, "ID_COLUMN": ""}).id_column is None
    with pytest.raises(InvalidSettings, match="DATA_BUCKET is missing"):
        ExampleSettings.from_env({**ENVIRONMENT, "DATA_BUCKET": ""})


def test_names_every_problem_at_once():
    with pytest.raises(InvalidSettings) as refusal:
        ExampleSettings.from_env(
            {"MINIMUM_ROWS": "many", "TOLERANCE": "x", "IS_ON": "yes", "RESPONSE": "panic"}
        )
    message = str(refusal.value)
    for problem in (
        "DATA_BUCKET is missing",
        "MINIMUM_ROWS='many'",
        "TOLERANCE='x'",
        "IS_ON='yes'",
        "one of retrain, notify",
    ):
        assert problem in message
    assert "template.yaml" in message


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity"])
def test_takes_no_number_that_is_none(value):
    with pytest.raises(InvalidSettings, match=f"TOLERANCE='{value}': must be a finite number"):
        ExampleSettings.from_env({**ENVIRONMENT, "TOLERANCE": value})


def test_ignores_what_it_does_not_declare():
    assert ExampleSettings.from_env({**ENVIRONMENT, "PATH": "/bin"}).data_bucket == "b"
