"""Wheels that a job or a model carries are imported where nothing can be installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.unit.training.job_folders import TRAINING, builtin, read_json, run_job, write_job

import own_libraries
from dropforge.domain.errors import UnusableLibrary
from shared_objects import Dynamic, needed, objects_below

PACKAGES = Path(next(iter(__import__("sklearn").__path__))).parent


def wheel(folder: Path, name: str, **members: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return path


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program that may import the training code, in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TRAINING)!r})\n{program}"]
        + [str(each) for each in arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


ADDING = """
from pathlib import Path
import own_libraries
own_libraries.add(Path(sys.argv[1]))
own_libraries.add(Path(sys.argv[1]))
import forest, platform_part, importlib.metadata
print(forest.VALUE, platform_part.VALUE, importlib.metadata.version("forest"), len(sys.path))
"""


def test_carried_wheels_are_imported_before_the_images_and_added_once(tmp_path: Path) -> None:
    wheel(
        tmp_path / "wheels",
        "forest-1.2",
        **{
            "forest/__init__.py": "VALUE = 'carried'",
            "forest-1.2.data/platlib/platform_part.py": "VALUE = 'of this platform'",
            "forest-1.2.data/scripts/forest": "never unpacked",
            "forest-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: forest\nVersion: 1.2\n",
        },
    )
    before = python("print(len(sys.path))")
    ran = python(ADDING, tmp_path / "wheels")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "libraries: forest 1.2",
        f"carried of this platform 1.2 {int(before.stdout) + 1}",
    ]


def test_what_is_forgotten_counts_as_imported_only_when_somebody_imports_it_again(tmp_path: Path) -> None:
    for name in ("forest", "search"):
        members = {f"{name}/__init__.py": "", f"{name}/late.py": ""}
        wheel(tmp_path / "wheels", f"{name}-1.2", **members)
    (tmp_path / "this_is_not_of_a_wheel.py").touch()
    ran = python(
        """
from pathlib import Path
import own_libraries
folder = Path(sys.argv[1])
own_libraries.add(folder)
sys.path.append(str(folder.parent))
import forest
loaded = own_libraries.loaded_now()
import search, this_is_not_of_a_wheel
brought = own_libraries.loaded_now() - loaded
import forest.late
own_libraries.forget(brought)
print([each.name for each in own_libraries.imported(folder)], *sorted(sys.modules.keys() & {
    "search", "forest.late", "this_is_not_of_a_wheel"}))
import search
print([each.name for each in own_libraries.imported(folder)])
""",
        tmp_path / "wheels",
    )
    assert ran.returncode == 0, ran.stderr
    first, second = "forest-1.2-py3-none-any.whl", "search-1.2-py3-none-any.whl"
    assert ran.stdout.splitlines()[1:] == [
        f"{[first]} forest.late this_is_not_of_a_wheel",
        f"{[first, second]}",
    ]


def test_without_wheels_nothing_changes(tmp_path: Path) -> None:
    path = list(sys.path)
    own_libraries.add(tmp_path / "absent")
    assert sys.path == path


@pytest.mark.parametrize(
    ("member", "says"), [("../outside.py", "leads out"), ("/etc/outside.py", "leads out")]
)
def test_a_wheel_whose_paths_lead_out_is_refused(tmp_path: Path, member: str, says: str) -> None:
    packed = wheel(tmp_path / "wheels", "forest-1.2", **{member: ""})
    with pytest.raises(UnusableLibrary, match=says):
        own_libraries.unpack(packed, tmp_path / "place", 1000)


def test_a_damaged_or_swollen_wheel_is_refused(tmp_path: Path) -> None:
    packed = wheel(tmp_path / "wheels", "forest-1.2", **{"forest.py": "x" * 2000})
    with pytest.raises(UnusableLibrary, match="more than 1000 bytes"):
        own_libraries.unpack(packed, tmp_path / "place", 1000)
    packed.write_bytes(packed.read_bytes()[:60])
    with pytest.raises(UnusableLibrary, match=r"forest-1\.2.*can't be unpacked"):
        own_libraries.unpack(packed, tmp_path / "place", 1_000_000)


def test_modules_that_are_loaded_from_elsewhere_are_not_replaced_in_silence(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "forest-1.2", **{"zipfile/__init__.py": ""})
    ran = python(
        "from pathlib import Path; import own_libraries; own_libraries.add(Path(sys.argv[1]))",
        tmp_path / "wheels",
    )
    assert "UnusableLibrary: zipfile of wheels/ was loaded from" in ran.stderr


def test_shared_objects_say_what_they_need() -> None:
    (openmp,) = (PACKAGES / "scikit_learn.libs").glob("libgomp*")
    with openmp.open("rb") as file:
        dynamic = Dynamic.read(file)
    assert dynamic is not None
    assert dynamic.name == openmp.name
    users = [path for path in objects_below(PACKAGES / "sklearn" / "utils") if openmp.name in needed(path)]
    assert users, "scikit-learn's own modules are linked to it"


def test_what_is_no_shared_object_needs_nothing(tmp_path: Path) -> None:
    for content in (b"", b"\x7fELF", b"text of a linker script", b"\x7fELF\x01\x01" + b"\0" * 100):
        (tmp_path / "x.so").write_bytes(content)
        assert needed(tmp_path / "x.so") == ()


PROVIDING = """
import ctypes
from pathlib import Path
own = Path(sys.argv[1])
import own_libraries
own_libraries.OPENMP = "libgomp.so.9"
own_libraries.provide_openmp(own)
# By that name alone, as the loader looks for what a library is linked to.
print(ctypes.CDLL("libgomp.so.9").omp_get_max_threads() > 0)
"""


def test_openmp_is_provided_under_the_name_that_is_asked_for(tmp_path: Path) -> None:
    ran = python(PROVIDING, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "libgomp.so.9: scikit-learn's copy, since the system has none",
        "True",
    ]


FOREST = """
import numpy as np
from sklearn.dummy import DummyClassifier


class Forest(DummyClassifier):
    def predict_proba(self, X):
        import leaves  # needed to predict, named by nothing that is pickled

        return leaves.same(super().predict_proba(X))
"""
USING_FOREST = """
import pandas as pd
from forest import Forest


def build_model(schema, hyperparameters):
    return Forest(strategy="prior").set_params(constant=None)
"""


def test_a_model_carries_the_wheels_that_it_was_fitted_and_predicts_with_and_no_other(tmp_path: Path) -> None:
    contract, frame = builtin("wine")
    write_job(tmp_path, contract, frame, model_py=USING_FOREST)
    carried = tmp_path / "input" / "data" / "code" / "wheels"
    wheel(carried, "forest-1.2", **{"forest.py": FOREST})
    wheel(carried, "leaves-3.0", **{"leaves.py": "def same(scores):\n    return scores\n"})
    wheel(carried, "only_to_tune-5.0", **{"only_to_tune.py": ""})
    done = run_job(tmp_path)
    assert done.returncode == 0, done.stderr

    model = read_json(tmp_path / "model" / "model.json")
    names = ["forest-1.2-py3-none-any.whl", "leaves-3.0-py3-none-any.whl"]
    assert [path.name for path in sorted((tmp_path / "model" / "wheels").iterdir())] == names
    assert {f"wheels/{name}" for name in names} <= model["files"].keys()
    assert (model["libraries"]["forest"], model["libraries"]["leaves"]) == ("1.2", "3.0")
    assert "only-to-tune" not in model["libraries"]
    assert read_json(tmp_path / "output" / "data" / "training_report.json")["libraries"] == model["libraries"]

    # The archive alone is enough: an interpreter that knows nothing else answers the same.
    served = python(
        "sys.path[0] = sys.argv[1] + '/code'\n"
        "import json, inference\n"
        "model = inference.model_fn(sys.argv[1])\n"
        "smoke = json.load(open(sys.argv[2]))\n"
        "body = json.dumps({'instances': smoke['instances']})\n"
        "status, text = inference.answer(model, body, 'application/json', None)\n"
        "print(status, json.loads(text)['predictions'] == smoke['predictions'])",
        tmp_path / "model",
        tmp_path / "output" / "data" / "smoke.json",
    )
    assert served.stdout.splitlines()[-1] == "200 True", served.stderr


def test_a_library_of_the_image_that_the_pickle_refers_to_is_in_the_lineage(tmp_path: Path) -> None:
    contract, frame = builtin("wine")
    model_py = """
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler


def build_model(schema, hyperparameters):
    return make_pipeline(FunctionTransformer(pd.DataFrame), StandardScaler(), LogisticRegression())
"""
    write_job(tmp_path, contract, frame, model_py=model_py)
    done = run_job(tmp_path)
    assert done.returncode == 0, done.stderr
    libraries = read_json(tmp_path / "model" / "model.json")["libraries"]
    assert libraries["pandas"] == "2.2.3"
    assert not (tmp_path / "model" / "wheels").exists()
