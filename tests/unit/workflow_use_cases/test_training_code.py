"""What of the project's code a training job gets."""

from __future__ import annotations

import ast
from pathlib import Path

from dropforge import bootstrap
from dropforge.domain.training_code import what_is_imported

TRAINING = Path(__file__).parents[3] / "training"

FILES = {
    "train.py": b"import json, parts.shapes as shapes\ndef late():\n    from parts import inner\n",
    "other.py": b"",
    "parts/__init__.py": b"",
    "parts/shapes.py": b"from parts.names import NAME\nfrom parts.shapes import circle\n",
    "parts/names.py": b"NAME = 'x'\n",
    "parts/inner/__init__.py": b"import parts.inner.deep\n",
    "parts/inner/deep.py": b"",
    "parts/unused.py": b"import other\n",
}


def test_takes_what_is_imported_at_any_place_and_in_turn_and_nothing_else():
    assert set(what_is_imported(["train"], FILES)) == FILES.keys() - {"other.py", "parts/unused.py"}


def test_a_file_that_does_not_parse_is_taken_for_its_job_to_tell():
    files = {"train.py": b"import model\nimport json\n", "model.py": b"import json\ndef build_model(:\n"}
    assert what_is_imported(["train"], files) == files


def test_a_change_of_what_is_not_imported_changes_nothing():
    changed = {**FILES, "parts/unused.py": b"import parts.names\n"}
    assert what_is_imported(["train"], changed) == what_is_imported(["train"], FILES)


def test_a_job_gets_every_script_that_its_scripts_import():
    files = bootstrap.training_code().files
    scripts = {path.stem for path in TRAINING.glob("*.py")}
    imported = {
        name
        for content in files.values()
        for node in ast.walk(ast.parse(content))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
        )
        if name in scripts
    }
    assert {"job", "folders", "inference"} <= imported
    assert {f"{name}.py" for name in imported} <= files.keys()
