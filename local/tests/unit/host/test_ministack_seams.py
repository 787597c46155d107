"""What the glue uses of MiniStack is declared, all of it and no more, and the installed version has it.

Whatever imports MiniStack does so in a process of its own: it reads the environment then.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropforge_local import glue
from dropforge_local.glue import seams
from dropforge_local.glue.seams import MINISTACK_VERSION, SEAMS, Seam
from dropforge_local.newest_ministack import report, seams_of
from dropforge_local.settings import HostSettings

GLUE = Path(glue.__file__).parent
DECLARED_IN = Path(seams.__file__)
USERS = [path for path in GLUE.rglob("*.py") if path != DECLARED_IN]
BY_NAME = {name: each for name, each in vars(seams).items() if isinstance(each, Seam)}
PATHS = [f"{seam.seam_module}.{name}" for seam in SEAMS for name in seam.seam_names if "." not in name]

_INSTALL = """
import sys
from dropforge_local.glue import install
from dropforge_local.settings import HostSettings
install(HostSettings.from_json(sys.argv[1]))
print("installed")
"""
_CHECK = """
import importlib, json, sys
from dropforge_local.errors import SeamChanged
from dropforge_local.glue import seams

def said():
    try:
        seams.check()
    except SeamChanged as error:
        return str(error)
    return ""

answers = {"": said()}
for path in sys.argv[1:]:
    module, _, name = path.rpartition(".")
    module = importlib.import_module(module)
    kept = getattr(module, name)
    delattr(module, name)
    answers[path] = said()
    setattr(module, name, kept)
lambda_svc = importlib.import_module("ministack.services.lambda_svc")
lambda_svc.invalidate_worker = lambda name: None
answers["other parameters"] = said()
lambda_svc.invalidate_worker = None
answers["no function"] = said()
seams.version = lambda package: "9.9.9"
answers["other version"] = said()
print(json.dumps(answers))
"""


def _settings(folder: Path) -> HostSettings:
    return HostSettings(
        state_dir=folder / "state",
        unpacked_dir=folder / "unpacked",
        port=4566,
        listener_fd=0,
        lifeline_fd=0,
        wait_scale=1.0,
        auth=False,
        region="us-east-1",
        account_id="000000000000",
    )


def _last_line(settings: HostSettings, program: str, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=settings.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the check says, by what MiniStack lacks."""
    settings = _settings(tmp_path_factory.mktemp("host"))
    answers: dict[str, str] = json.loads(_last_line(settings, _CHECK, *PATHS))
    return answers


def test_installs_on_the_pinned_version(tmp_path: Path, said: dict[str, str]) -> None:
    settings = _settings(tmp_path)
    assert said[""] == ""
    assert _last_line(settings, _INSTALL, settings.to_json()) == "installed"


def test_one_error_names_the_version_and_the_seam_whatever_is_missing(said: dict[str, str]) -> None:
    assert len(PATHS) > 200
    for path in PATHS:
        assert f"MiniStack {MINISTACK_VERSION}" in said[path]
        assert f"\n  {path} is gone\n" in said[path], path


def test_a_function_with_other_parameters_is_a_broken_seam(said: dict[str, str]) -> None:
    seam = "ministack.services.lambda_svc.invalidate_worker"
    assert f"{seam} takes ['name'], not ['func_name']" in said["other parameters"]
    assert f"{seam} takes None, not ['func_name']" in said["no function"]


def test_another_version_is_refused(said: dict[str, str]) -> None:
    assert f"written for MiniStack {MINISTACK_VERSION}; 9.9.9 is installed" in said["other version"]


def _attributes(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.value, node.attr


def _is_of(owner: ast.expr, *names: str) -> bool:
    return isinstance(owner, ast.Name) and owner.id in names


def _seams_of(tree: ast.AST) -> dict[str, Seam]:
    """The seams that a module imports, by the name that it gives them."""
    return {
        alias.asname or alias.name: BY_NAME[alias.name]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == seams.__name__
        for alias in node.names
        if alias.name in BY_NAME
    }


@pytest.mark.parametrize("path", USERS, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_is_used_is_declared(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = _seams_of(tree)
    own = {name for owner, name in _attributes(tree) if _is_of(owner, "self")}
    declared = {name.rpartition(".")[2] for seam in BY_NAME.values() for name in seam.seam_names}
    for owner, name in _attributes(tree):
        if isinstance(owner, ast.Name) and owner.id in imported:
            assert name in imported[owner.id].seam_names, f"{owner.id}.{name}"
        elif name.startswith("_") and not name.startswith("__"):
            # Seams are handed on as well; who takes one calls it something else.
            assert _is_of(owner, "self", "os") or name in own or name in declared, name


def test_what_is_declared_is_used() -> None:
    used = set()
    for path in USERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used |= {name for _, name in _attributes(tree)}
        used |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for seam in BY_NAME.values():
        unused = {name.rpartition(".")[2] for name in seam.seam_names} - used - seam.seam_relied_on
        assert not unused, f"{seam.seam_module}: {unused}"


def test_only_what_is_declared_can_be_read_and_only_what_is_replaced_assigned() -> None:
    seam = Seam("json", reads=["dumps"], replaces=["loads"])
    assert seam.dumps([]) == "[]"
    with pytest.raises(AttributeError, match=r"json\.dump is no declared seam"):
        _ = seam.dump
    with pytest.raises(AttributeError, match=r"json\.dumps is not declared as replaced"):
        seam.dumps = None
    assert list(Seam("json", reads=["gone", "dumps(it)"]).seam_problems()) == [
        "json.gone is gone",
        "json.dumps takes ['obj'], not ['it']",
    ]
    assert list(Seam("json.gone", reads=["x"]).seam_problems()) == [
        "json.gone can't be imported: No module named 'json.gone'"
    ]


def test_another_version_s_broken_seams_and_changed_sources_are_told_apart() -> None:
    installed = seams_of([sys.executable])
    assert (installed["version"], installed["broken"]) == (MINISTACK_VERSION, [])
    assert report(installed, installed) == [f"MiniStack {MINISTACK_VERSION} is what is installed already."]
    changed, gone = "ministack.services.s3._get_object", "ministack.services.sqs._refresh_counts"
    sources = {name: digest for name, digest in installed["sources"].items() if name != gone}
    other = {"version": "9.9.9", "broken": [f"{gone} is gone"], "sources": sources | {changed: "other"}}
    assert report(installed, other) == [
        f"MiniStack {MINISTACK_VERSION} is installed, 9.9.9 was tried.",
        "Broken seams: 1",
        f"  {gone} is gone",
        f"Functions and classes with another source: 1 of {len(installed['sources'])}",
        f"  {changed}",
    ]
