"""The bills of materials name what is installed, extras and groups included."""

from __future__ import annotations

import json
from pathlib import Path

from scan.dependencies import write_bills


def test_bills_name_what_extras_groups_and_layers_bring(tmp_path: Path) -> None:
    everything, deployed = (
        {each["name"] for each in json.loads(path.read_text())["components"]}
        for path in write_bills(tmp_path)
    )
    assert {"boto3", "nicegui", "ministack", "scikit-learn", "ruff", "statsmodels"} <= everything
    assert {"numpy", "pyarrow", "aws-lambda-powertools"} <= deployed
    assert not deployed & {"nicegui", "ministack", "scikit-learn", "pandas"}
