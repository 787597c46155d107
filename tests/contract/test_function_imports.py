"""What functions load: pyarrow costs half a boto3 client, so only those with tables pay it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.imports import table_makers

from dropforge_local.template import load_template

ROOT = Path(__file__).resolve().parents[2]
APPS = sorted((ROOT / "functions").glob("*/app.py"))
IMPORT_ALL = """
import importlib.util, sys
for number, path in enumerate(sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"app_{number}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def modules_after(*apps: Path) -> set[str]:
    """Import the handlers in a fresh interpreter; return the top-level modules that this has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *map(str, apps)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "core"), "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_no_function_loads_a_table_library_when_it_is_imported():
    assert not modules_after(*APPS) & {"pyarrow", "pandas", "sklearn", "scipy"}


def test_a_function_without_the_data_layer_loads_nothing_of_it():
    resources = load_template(ROOT / "template.yaml")["Resources"]
    layers = {
        each["Properties"]["CodeUri"].split("/")[1]: each["Properties"].get("Layers", [])
        for each in resources.values()
        if each["Type"] == "AWS::Serverless::Function"
    }
    without = [app for app in APPS if {"Ref": "DataLayer"} not in layers[app.parent.name]]
    assert len(without) > 10
    assert not modules_after(*without) & {"numpy", "pyarrow"}


def test_only_functions_that_work_on_tables_ever_make_their_machinery():
    makers = {path.parent.name for path in APPS if table_makers(path.parent.name)}
    assert makers == {"prepare_data", "prepare_chunk", "merge_chunks", "plan_batch", "collect_batch"}


LOAD = """
import gc, sys
from dropforge.importing import without_collection
before = gc.get_freeze_count()
with without_collection(is_kept={made}):
    print(gc.isenabled())
    import {module}
print(gc.isenabled(), gc.get_freeze_count() > before)
"""


@pytest.mark.parametrize(
    ("module", "made", "is_kept"),
    [("xml.dom.minidom", False, True), ("sys", False, False), ("sys", True, True)],
)
def test_garbage_is_collected_again_after_imports_and_only_what_lasts_is_kept_from_it(module, made, is_kept):
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(module=module, made=made)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "core")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", str(is_kept)]


PREPARE = """
import sys
from pathlib import Path

class NoPandas:  # pyarrow uses it where it is there; no layer has it
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoPandas())
from bench.mixed_table import write_csv
from bench.prepare_ours import dropforge
folder = Path(sys.argv[1])
write_csv(folder / "table.csv", 1 << 16, seed=1)
print(dropforge(folder / "table.csv", folder, workers=1)["kept"])
"""


def test_tables_are_prepared_without_pandas(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "core")])
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
