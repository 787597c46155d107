"""What ``dropforge export image`` writes, keeps and refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_services import complete
from cli_stack import CONTRACT, CliStack
from tests.unit.tracking.tracked_stack import an_archive

from dropforge.domain.records import ModelVersion
from dropforge_ops.actions.image_export import Exported, application, export_image
from dropforge_ops.errors import OperationFailed

COMPILED = {"contract.json": CONTRACT.to_json().encode(), "compiled.npz": b""}


def a_version(stack: CliStack, *, lives: bool = True, **archive: Mapping[str, bytes]) -> ModelVersion:
    complete(stack)
    stack.archive = an_archive(**{"files": COMPILED, **archive})
    if lives:
        stack.lives(1)
    else:
        stack.trained(1)
    found = stack.ledger.get_model(1)
    assert found is not None
    return found


def exported(stack: CliStack, model: ModelVersion, folder: Path) -> Exported:
    return export_image(stack.target, model, folder)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_once_more_changes_nothing_and_what_somebody_changed_stays(stack: CliStack, tmp_path: Path) -> None:
    model = a_version(stack)
    first = exported(stack, model, tmp_path)
    written = content(tmp_path)
    assert set(first.changed) == set(written)
    again = exported(stack, model, tmp_path)
    assert (again.changed, again.kept, content(tmp_path)) == ([], [], written)

    ingress, module = tmp_path / "kubernetes" / "ingress.yaml", tmp_path / "app" / "dropforge" / "old.py"
    ingress.write_text("of somebody")
    module.write_text("of an earlier release")
    (tmp_path / "notes.md").write_text("of somebody")
    changed = exported(stack, model, tmp_path)
    assert (changed.changed, changed.kept) == (["app/dropforge/old.py"], ["kubernetes/ingress.yaml"])
    assert ingress.read_text() == "of somebody"
    assert not module.exists()
    assert (tmp_path / "notes.md").exists()


def test_nothing_is_left_to_fill_in_and_nothing_secret_is_told(stack: CliStack, tmp_path: Path) -> None:
    model = a_version(stack)
    exported(stack, model, tmp_path)
    for name, data in content(tmp_path).items():
        text = data.decode("utf-8", "replace")
        if not name.startswith("app/"):
            assert not re.search(r"@[A-Z_]+@", text), name
        assert not re.search(r"AKIA|aws_secret|BEGIN [A-Z ]*PRIVATE", text), name
    told = json.loads((tmp_path / "app" / "model" / "archive.json").read_bytes())
    assert (told["version"], told["contract_hash"]) == (1, CONTRACT.hash)
    assert told["endpoint_name"] == ""


def test_every_library_is_pinned_with_its_hashes(stack: CliStack, tmp_path: Path) -> None:
    exported(stack, a_version(stack), tmp_path)
    lines = (tmp_path / "requirements.txt").read_text().splitlines()
    named = [line for line in lines if not line.startswith("    --hash=sha256:")]
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)? \\", line) for line in named)
    assert not any(line.startswith("scikit-learn") for line in named)


def test_a_model_without_compiled_form_brings_its_libraries(stack: CliStack, tmp_path: Path) -> None:
    files = {"contract.json": CONTRACT.to_json().encode()}
    exported(stack, a_version(stack, files=files), tmp_path)
    assert "\nscikit-learn==1.9.0 " in (tmp_path / "requirements.txt").read_text()


def test_what_the_application_imports_is_carried_and_nothing_else(tmp_path: Path) -> None:
    carried = application()
    for name, data in carried.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    program = """
import sys
import dropforge.image.app
own = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "dropforge"}
assert all(module.__file__.startswith(sys.argv[1]) for module in own.values()), own
print(*own)
"""
    command = [sys.executable, "-c", program, tmp_path]
    env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = {name.replace(".", "/") for name in done.stdout.split()}
    modules = {re.sub(r"(/__init__)?\.py$", "", name) for name in carried if name.endswith(".py")}
    # Whatever is imported later or for types alone is carried as well, and is found.
    assert loaded <= modules
    assert {name.split("/")[1] for name in modules if "/" in name} == {
        *("adapters", "application", "config", "domain", "image", "importing", "ledger_table", "tracking")
    }
    assert len(modules - loaded) < len(loaded)


def test_an_export_is_noted_until_that_is_taken_back(stack: CliStack, tmp_path: Path, on_stack: Any) -> None:
    model = a_version(stack)

    def noted() -> bool:
        return bool(on_stack("models", "1", "--json").json["exported"])

    assert not noted()
    exported(stack, model, tmp_path)
    assert noted()
    assert "may serve it elsewhere" in on_stack("models", "1").stdout
    assert on_stack("export", "image", "1", "--remove", "--json").json == {"version": 1, "removed": True}
    assert not noted()
    assert "was not noted" in on_stack("export", "image", "1", "--remove").stdout
    for options in ((), ("--remove", "--to", str(tmp_path))):
        assert "either --to DIR, or --remove" in on_stack("export", "image", "1", *options).stderr


def test_only_what_was_live_is_exported(stack: CliStack, tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="is pending"):
        exported(stack, a_version(stack, lives=False), tmp_path)
    assert content(tmp_path) == {}


def test_versions_of_libraries_that_nobody_has_compared_are_refused(stack: CliStack, tmp_path: Path) -> None:
    libraries = {"python": "3.12.1", "numpy": "2.5.0", "scikit-learn": "1.9.0"}
    with pytest.raises(OperationFailed, match=r"trained with numpy 2\.5\.0"):
        exported(stack, a_version(stack, libraries=libraries), tmp_path)


def test_another_archive_than_the_judged_one_is_refused(stack: CliStack, tmp_path: Path) -> None:
    model = a_version(stack)
    stack.write(f"models/{model.run_id}/job/output/model.tar.gz", an_archive())
    with pytest.raises(OperationFailed, match="is not the archive that was judged"):
        exported(stack, model, tmp_path)


def test_a_folder_of_somebody_is_not_replaced(stack: CliStack, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("of somebody")
    with pytest.raises(OperationFailed, match="is none of an export"):
        exported(stack, a_version(stack), tmp_path)
    assert set(content(tmp_path)) == {"app/main.py"}
