"""The builder: sam build's rules, stable archives, and a cache that only content can miss."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dropforge_local.build import Builder, BuiltTemplate
from dropforge_local.errors import BuildFailed, InvalidTemplate

_HEAD = "Transform: AWS::Serverless-2016-10-31\nResources:\n"
_FUNCTION = (
    "  Fn: {Type: AWS::Serverless::Function,"
    " Properties: {CodeUri: fn/, Handler: app.h, Runtime: python3.12}}\n"
)


def _project(root: Path, resources: str = _FUNCTION, files: dict[str, str] | None = None) -> Path:
    for name, text in {"fn/app.py": "X = 1\n", **(files or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "template.yaml").write_text(_HEAD + resources)
    return root


def _build(root: Path) -> BuiltTemplate:
    return Builder(root / "template.yaml", root / ".cache").build()


def _names(built: BuiltTemplate, logical_id: str, name: str) -> list[str]:
    with zipfile.ZipFile(built.artifacts[logical_id, name].path) as archive:
        return sorted(archive.namelist())


def test_a_function_is_its_folder_without_what_sam_build_leaves_out(tmp_path: Path) -> None:
    files = {
        "fn/sub/b.py": "",
        "fn/__pycache__/app.cpython-312.pyc": "x",
        "fn/.env/secret": "x",
        "fn/lib.so": "x",
        "fn/data.json": "{}",
    }
    assert _names(_build(_project(tmp_path, files=files)), "Fn", "CodeUri") == [
        "app.py",
        "data.json",
        "sub/b.py",
    ]


def test_equal_trees_give_equal_archives_wherever_and_whenever_they_are_built(tmp_path: Path) -> None:
    first, second = _project(tmp_path / "a"), _project(tmp_path / "b")
    os.utime(second / "fn/app.py", (1, 1))
    a, b = _build(first).artifacts["Fn", "CodeUri"], _build(second).artifacts["Fn", "CodeUri"]
    assert a.sha256 == b.sha256
    assert a.path.read_bytes() == b.path.read_bytes()


def test_an_unchanged_project_is_not_built_again_and_a_changed_one_is(tmp_path: Path) -> None:
    layer = (
        "  L: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile},"
        " Properties: {ContentUri: lay/}}\n"
    )
    makefile = (
        'build-L:\n\techo run >> {log}\n\tmkdir -p "$(ARTIFACTS_DIR)/python"\n'
        '\tcp m.py "$(ARTIFACTS_DIR)/python"\n'
    )
    log = tmp_path / "log"
    root = _project(
        tmp_path / "p", _FUNCTION + layer, {"lay/Makefile": makefile.format(log=log), "lay/m.py": "A = 1\n"}
    )
    before = _build(root)
    assert _names(before, "L", "ContentUri") == ["python/m.py"]
    assert _build(root).artifacts["L", "ContentUri"] == before.artifacts["L", "ContentUri"]
    assert log.read_text().count("run") == 1
    (root / "lay/m.py").write_text("A = 2\n")
    assert _build(root).artifacts["L", "ContentUri"].sha256 != before.artifacts["L", "ContentUri"].sha256
    assert log.read_text().count("run") == 2


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    resources = (
        "  Layer: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile},"
        " Properties: {ContentUri: layer/}}\n"
    )
    makefile = f"build-Layer:\n\techo built >> {tmp_path}/builds; sleep 0.1; echo 1 > $(ARTIFACTS_DIR)/x\n"
    project = _project(tmp_path / "project", resources, {"layer/Makefile": makefile})
    with ThreadPoolExecutor(3) as pool:
        digests = {built.artifacts["Layer", "ContentUri"].sha256 for built in pool.map(_build, [project] * 3)}
    assert len(digests) == 1
    assert (tmp_path / "builds").read_text() == "built\n"


def test_make_runs_in_a_copy_so_the_sources_stay_as_they_are(tmp_path: Path) -> None:
    layer = (
        "  L: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile},"
        " Properties: {ContentUri: lay/}}\n"
    )
    makefile = 'build-L:\n\ttouch made-here\n\tcp m.py "$(ARTIFACTS_DIR)/"\n'
    root = _project(tmp_path, layer, {"lay/Makefile": makefile, "lay/m.py": ""})
    _build(root)
    assert sorted(path.name for path in (root / "lay").iterdir()) == ["Makefile", "m.py"]


def test_a_python_layers_content_goes_below_python_and_a_plain_ones_stays(tmp_path: Path) -> None:
    layers = (
        "  P: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: python3.12},"
        " Properties: {ContentUri: lay/}}\n"
        "  Q: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: lay/}}\n"
    )
    built = _build(_project(tmp_path, layers, {"lay/m.py": ""}))
    assert _names(built, "P", "ContentUri") == ["python/m.py"]
    assert _names(built, "Q", "ContentUri") == ["m.py"]


def test_local_paths_become_locations_in_s3_and_others_stay(tmp_path: Path) -> None:
    resources = _FUNCTION + (
        "  Sm: {Type: AWS::Serverless::StateMachine,"
        " Properties: {DefinitionUri: a.asl.json, Name: !Sub '${X}'}}\n"
        "  Plain: {Type: AWS::StepFunctions::StateMachine, Properties: {DefinitionS3Location: a.asl.json}}\n"
        "  Other: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: 's3://b/k'}}\n"
    )
    packaged = _build(_project(tmp_path, resources, {"a.asl.json": "{}"})).packaged("bucket")["Resources"]
    assert packaged["Fn"]["Properties"]["CodeUri"].startswith("s3://bucket/")
    assert packaged["Sm"]["Properties"]["DefinitionUri"].endswith(".asl.json")
    plain = packaged["Plain"]["Properties"]["DefinitionS3Location"]
    assert packaged["Sm"]["Properties"]["DefinitionUri"] == f"s3://{plain['Bucket']}/{plain['Key']}"
    assert packaged["Sm"]["Properties"]["Name"] == {"Fn::Sub": "${X}"}
    assert packaged["Other"]["Properties"]["ContentUri"] == "s3://b/k"


def test_globals_give_the_code_and_the_runtime(tmp_path: Path) -> None:
    root = _project(tmp_path, "  Fn: {Type: AWS::Serverless::Function, Properties: {Handler: app.h}}\n")
    text = (root / "template.yaml").read_text()
    (root / "template.yaml").write_text("Globals: {Function: {CodeUri: fn/, Runtime: python3.12}}\n" + text)
    assert _names(_build(root), "Fn", "CodeUri") == ["app.py"]


@pytest.mark.parametrize(
    ("resource", "problem"),
    [
        (
            "{Type: AWS::Serverless::Function, Properties: {CodeUri: no/, Runtime: python3.12}}",
            "is no folder",
        ),
        ("{Type: AWS::Serverless::Function, Properties: {CodeUri: fn/, Runtime: python3.9}}", "python3.9"),
        ("{Type: AWS::Serverless::Function, Properties: {PackageType: Image}}", "Image"),
        (
            "{Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: go},"
            " Properties: {ContentUri: fn/}}",
            "'go' is not supported",
        ),
        (
            "{Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile},"
            " Properties: {ContentUri: fn/}}",
            "needs .*Makefile",
        ),
    ],
)
def test_names_what_it_cannot_build(tmp_path: Path, resource: str, problem: str) -> None:
    with pytest.raises(InvalidTemplate, match=f"X: .*{problem}|X: {problem}"):
        _build(_project(tmp_path, f"  X: {resource}\n"))


def test_a_failing_make_shows_its_output(tmp_path: Path) -> None:
    layer = (
        "  L: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile},"
        " Properties: {ContentUri: lay/}}\n"
    )
    root = _project(tmp_path, layer, {"lay/Makefile": "build-L:\n\t@echo the reason; exit 3\n"})
    with pytest.raises(BuildFailed, match="the reason"):
        _build(root)
    assert not list((root / ".cache" / "build").glob("[!.]*"))


def _sam() -> list[str] | None:
    """The command for the real sam in its isolated environment; None where it can't run."""
    for python in (sys.executable, "python3"):
        command = [python, "-m", "uv", "tool", "run", "--from", "aws-sam-cli==1.170.0", "sam"]
        try:
            probe = subprocess.run([*command, "--version"], capture_output=True, timeout=90, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if probe.returncode == 0:
            return command
    return None


def test_gives_the_files_that_the_real_sam_build_gives(tmp_path: Path) -> None:
    sam = _sam()
    if sam is None:
        pytest.skip("aws-sam-cli can't be run through uv tool here")
    resources = _FUNCTION + (
        "  Lay: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile},"
        " Properties: {ContentUri: lay/}}\n"
        "  Pip: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: python3.12},"
        " Properties: {ContentUri: pip/, CompatibleRuntimes: [python3.12]}}\n"
    )
    files = {
        "fn/pkg/__init__.py": "",
        "fn/.hidden": "x",
        "fn/notes.log": "x",
        "fn/.pytest_cache/x": "x",
        "fn/build.egg-info/PKG-INFO": "x",
        "lay/Makefile": (
            'build-Lay:\n\tmkdir -p "$(ARTIFACTS_DIR)/python"\n\tcp -R m "$(ARTIFACTS_DIR)/python/"\n'
        ),
        "lay/m/__init__.py": "",
        "pip/requirements.txt": "six==1.17.0\n",
        "pip/extra.py": "",
    }
    root = _project(tmp_path, resources, files)
    built = _build(root)
    interpreter = str(Path(getattr(sys, "_base_executable", sys.executable)).parent)
    environment = {
        **os.environ,
        "PATH": f"{interpreter}{os.pathsep}{os.environ['PATH']}",
        "SAM_CLI_TELEMETRY": "0",
    }
    subprocess.run([*sam, "build"], cwd=root, env=environment, check=True, capture_output=True, timeout=200)
    for logical_id, name in (("Fn", "CodeUri"), ("Lay", "ContentUri"), ("Pip", "ContentUri")):
        folder = root / ".aws-sam" / "build" / logical_id
        theirs = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert _names(built, logical_id, name) == theirs


def test_builds_again_when_the_unpacked_files_have_been_removed(tmp_path: Path) -> None:
    root = _project(tmp_path)
    before = _build(root).artifacts["Fn", "CodeUri"]
    unpacked = root / ".cache" / "unpacked" / before.sha256
    (unpacked / "app.py").unlink()
    unpacked.rmdir()
    assert _build(root).artifacts["Fn", "CodeUri"] == before
    assert (unpacked / "app.py").read_text() == "X = 1\n"
