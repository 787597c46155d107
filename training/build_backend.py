"""Builds what SageMaker's serving stack installs of a model's code: a distribution's name, and nothing else.

At each start the stack runs ``pip install .`` in a copy of the archive's ``code/`` and then imports the code.
Left to itself it writes a setup.py, with which pip loads setuptools three times, and fetches it from the
package index first unless told not to. Here pip finds a build (PEP 517) that needs neither: the code is
importable where it lies.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

PYPROJECT = """\
[build-system]
requires = []
build-backend = "build_backend"
backend-path = ["."]
"""
"""The content of ``code/pyproject.toml``, which leads pip here."""

# The stack calls the module, and so the distribution, inference.
_DISTRIBUTION = "inference-1.0.0"
_FILES = {
    "METADATA": "Metadata-Version: 2.1\nName: inference\nVersion: 1.0.0\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: dropforge\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
Settings = Mapping[str, object] | None


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write the metadata; returns the name of their folder."""
    folder = Path(metadata_directory, f"{_DISTRIBUTION}.dist-info")
    folder.mkdir()
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    return folder.name


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Write a wheel of metadata alone; returns its name."""
    path = Path(wheel_directory, f"{_DISTRIBUTION}-py3-none-any.whl")
    names = [f"{_DISTRIBUTION}.dist-info/{name}" for name in (*_FILES, "RECORD")]
    record = "".join(f"{name},,\n" for name in names)
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in zip(names, (*_FILES.values(), record), strict=True):
            wheel.writestr(name, text)
    return path.name
