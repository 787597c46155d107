"""The import rules hold, and say so where they don't: faults planted into a copy of the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("core", "functions", "training", "local", "ops", "pyproject.toml")
PLANTED = {
    "functions/close_run/app.py": "import boto3\nimport functions.admit_run.app\n",
    "functions/admit_run/app.py": "import dropforge.adapters.object_store\n",
    "training/model.py": "import dropforge.application.predict\n",
    "core/dropforge/config.py": "import functions.admit_run.app\n",
    "core/dropforge/domain/errors.py": "import pandas\n",
    "local/dropforge_local/host.py": "import functions.admit_run.app\n",
    "local/dropforge_local/deploy.py": "import ministack.app\n",
    "core/dropforge/adapters/tables/reading/blocks.py": "import dropforge.adapters.tables.writing.parts\n",
    "ops/dropforge_ops/stack/target.py": "import dropforge_ops.cli.invocation\n",
    "local/dropforge_local/glue/workflow/attempt.py": "import dropforge_local.glue.workflow.task\n",
}
BROKEN = {
    "functions -> core": "functions.close_run.app -> boto3",
    "each function stands alone": "functions.close_run.app -> functions.admit_run.app",
    "training -> core.domain": "training.model -> dropforge.application.predict",
    "core is imported": "dropforge.config -> functions.admit_run.app",
    "domain and ledger format know no SDK": "dropforge.domain.errors -> pandas",
    "only the seams reach MiniStack": "dropforge_local.deploy -> ministack",
    "the local host reads the template": "dropforge_local.host -> functions.admit_run.app",
    "tables: staging": "dropforge.adapters.tables.reading.blocks -> dropforge.adapters.tables.writing.parts",
    "operations: cli": "dropforge_ops.stack.target -> dropforge_ops.cli.invocation",
    "no packages or modules that import": "No cycles are allowed in dropforge_local.glue.workflow",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy with the planted imports."""
    folder = tmp_path_factory.mktemp("planted")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for name, lines in PLANTED.items():
        path = folder / name
        assert path.exists(), name
        path.write_text(path.read_text() + "\n" + lines)
    roots = os.pathsep.join(str(folder / name) for name in ("core", "local", "ops", "."))
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": roots, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", BROKEN)
def test_an_import_against_the_rules_is_found(rule: str, said: str) -> None:
    flat = re.sub(r"\s+", " ", said)
    assert re.search(rf"{re.escape(rule)}[^.]*? BROKEN", flat), flat[:3000]
    assert BROKEN[rule] in flat


def test_the_domain_is_the_standard_library_and_numpy() -> None:
    graph = grimp.build_graph("dropforge", include_external_packages=True)
    imported = {
        name.partition(".")[0]
        for module in graph.modules
        if module.startswith("dropforge.domain")
        for name in graph.find_modules_directly_imported_by(module)
    }
    assert imported - {"dropforge"} - sys.stdlib_module_names == {"numpy"}
