"""Who only drives AWS installs neither the local host nor the console: every command says what it lacks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dropforge_ops.cli.main import app

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
BROUGHT_BY_EXTRAS = (
    *("nicegui", "fastapi", "starlette", "uvicorn"),
    *("ministack", "hypercorn", "samtranslator", "jsonata", "jsonpath_ng", "regex", "flask", "gunicorn"),
    *("aws_lambda_powertools", "sklearn", "scipy", "pandas", "joblib"),
    "mlflow",
)
# Only the extras' own modules may need them: everything else is imported, and a command line run.
PROGRAM = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({blocked!r}))
import dropforge_ops
own = ("dropforge_ops.console", "dropforge_ops.stack.local_host")
for module in pkgutil.walk_packages(dropforge_ops.__path__, "dropforge_ops.", onerror=lambda name: None):
    if not module.name.startswith(own):
        importlib.import_module(module.name)
from dropforge_ops.cli.main import app
app({arguments!r})
"""


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(blocked=BROUGHT_BY_EXTRAS, arguments=arguments)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "extras"),
    [
        (["up"], "local,console"),
        (["demo"], "local"),
        (["samples"], "local"),
        (["console"], "console"),
        (["export", "mlflow", "store"], "mlflow"),
    ],
)
def test_a_command_without_its_extra_says_how_to_install_it(arguments: list[str], extras: str) -> None:
    done = run(arguments)
    assert done.returncode == 2, done.stderr
    assert f"pip install '.[{extras}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def test_everything_else_loads_without_any_extra() -> None:
    done = run(["cost", "estimate", "--help"])
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_command_line_alone_brings_no_scikit_learn_and_no_web_server() -> None:
    named = {line.partition("=")[0].partition(">")[0].partition("[")[0] for line in PROJECT["dependencies"]}
    assert not named & {"scikit-learn", "pandas", "scipy", "nicegui", "ministack", "flask"}
    assert PROJECT["optional-dependencies"]["cli"] == []
    assert PROJECT["optional-dependencies"]["all"] == ["dropforge[console,local,mlflow]"]


def test_the_version_is_the_package_s() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stdout) == (0, f"dropforge {version('dropforge')}\n")
    assert version("dropforge") == PROJECT["version"]
