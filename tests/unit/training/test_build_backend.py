"""The archive's code is installed by pip without setuptools and without a network, as nothing but a name."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.unit.training.job_folders import TRAINING

import build_backend


def test_uv_builds_and_installs_it_without_a_network(tmp_path: Path) -> None:
    code, site = tmp_path / "code", tmp_path / "site"
    code.mkdir()
    (code / "pyproject.toml").write_text(build_backend.PYPROJECT)
    (code / "build_backend.py").write_bytes((TRAINING / "build_backend.py").read_bytes())
    # The serving stack writes this file where there is none; the build has to be ours all the same.
    (code / "setup.py").write_text("raise SystemExit('setuptools was asked')\n")
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--target",
        str(site),
        ".",
    ]
    done = subprocess.run(command, cwd=code, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in site.iterdir() if path.name != ".lock"] == ["inference-1.0.0.dist-info"]


def test_the_wheel_and_its_metadata_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / build_backend.prepare_metadata_for_build_wheel(str(tmp_path))
    name = build_backend.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        assert wheel.testzip() is None
        built = {Path(each).name: wheel.read(each).decode() for each in wheel.namelist()}
        recorded = built.pop("RECORD").splitlines()
        assert recorded == [f"{each},," for each in wheel.namelist()]
    assert built == {path.name: path.read_text() for path in folder.iterdir()}
