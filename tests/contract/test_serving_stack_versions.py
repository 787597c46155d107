"""The serving stack that is run beside the local model server has the versions that the product runs on."""

from __future__ import annotations

import importlib.metadata
import re

import pytest
from serving_stack.environment import IMAGE, packages

PINNED = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", IMAGE.read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    "name", ["flask", "gunicorn", "joblib", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy"]
)
def test_the_product_runs_on_the_images_version(name: str) -> None:
    assert importlib.metadata.version(name) == PINNED[name]


def test_every_package_of_the_stack_is_pinned() -> None:
    lines = [line for line in IMAGE.read_text().splitlines() if line and not line.startswith("#")]
    assert len(PINNED) == len(lines) == len(packages()) + 1
