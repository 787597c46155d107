"""Writes the folder that becomes ``model.tar.gz``: the model, how to serve it, and digests of all files."""

from __future__ import annotations

import contextlib
import copyreg
import importlib.metadata
import os
import pickle
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper

import build_backend
import dropforge.domain
import own_libraries
from compiling import Compilation
from dropforge.domain import compiled, decision_threshold, manifest
from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.encoding import Encoding
from dropforge.domain.errors import UnusableEstimator
from folders import clear
from raw_columns import RawColumns
from report import write_json
from settings import Settings

CODE = Path(__file__).resolve().parent

SERVING = (
    *("inference.py", "model.py", "raw_columns.py"),
    *("build_backend.py", "own_libraries.py", "shared_objects.py"),
)
"""Files of this folder that serving needs."""

LIBRARIES = ("numpy", "scipy", "scikit-learn", "joblib", "pyarrow")


def _of_any_machine(mapper: _BinMapper) -> tuple[Any, ...]:
    """How boosting's bins are pickled: without the number of threads that they were found with.

    The trees are the same whatever that number; it alone would make the digest differ between machines. None
    means "as many as there are".
    """
    build, arguments, state = mapper.__reduce_ex__(2)[:3]
    return build, arguments, {**state, "n_threads": None}


def write_model(
    folder: Path,
    estimator: Any,
    compilation: Compilation,
    encoding: Encoding | RawColumns,
    settings: Settings,
    run_id: str | None,
    fitted: Mapping[str, int],
    newest: int | float | None = None,
    threshold: DecisionThreshold | None = None,
) -> str:
    """Write the model folder with its code and digests. Returns the model digest.

    Args:
        fitted: how many rows of which split the estimator was fitted on.
        newest: the newest time among these, where rows are split by time.
        threshold: that decides on the label of two classes, where one was asked for.

    Raises:
        UnusableEstimator: the estimator can't be pickled.
    """
    clear(folder)
    copyreg.pickle(_BinMapper, _of_any_machine)  # wherever in the estimator it is
    try:
        joblib.dump(estimator, folder / "model.joblib")
        depends_on = libraries(estimator, encoding)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UnusableEstimator(
            f"the fitted {type(estimator).__name__} can't be stored: {error}. Serving unpickles it: define "
            "its functions and classes at the top level of model.py, and keep no open files or locks in it."
        ) from error
    if compilation.compiled is not None:
        compilation.compiled.write(folder / compiled.FILE_NAME)
    (folder / "contract.json").write_text(encoding.contract.to_json(), encoding="utf-8")
    (folder / "encoding.json").write_text(encoding.to_json(), encoding="utf-8")
    if threshold is not None:
        write_json(folder / decision_threshold.FILE_NAME, threshold.to_dict())
    domain = Path(dropforge.domain.__file__ or "").parent
    package = folder / "code" / "dropforge"
    shutil.copytree(domain, package / "domain", ignore=shutil.ignore_patterns("__pycache__"))
    # Without it a dropforge that is installed beside the archive would be imported instead.
    (package / "__init__.py").touch()
    for name in SERVING:
        shutil.copyfile(CODE / name, folder / "code" / name)
    if compilation.compiled is None:
        # The pickle serves: what was imported to fit it and to predict with it goes along.
        for wheel in own_libraries.imported(CODE / own_libraries.FOLDER):
            (folder / own_libraries.FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(wheel, folder / own_libraries.FOLDER / wheel.name)
    (folder / "code" / "pyproject.toml").write_text(build_backend.PYPROJECT)
    files = manifest.file_digests(folder)
    digest = manifest.model_digest(files)
    content = {
        "format": manifest.FORMAT,
        "run_id": run_id,
        "task": encoding.contract.task,
        "estimator": getattr(estimator, "selected_", type(estimator).__name__),
        "files": files,
        "model_digest": digest,
        "libraries": depends_on,
        "hyperparameters": settings.given,
        "contract_hash": encoding.contract.hash,
        "seed": settings.seed,
        "fitted": fitted,
        "seen_until": newest,
    }
    write_json(folder / manifest.FILE_NAME, content)
    return digest


def libraries(estimator: Any, encoding: Encoding | RawColumns) -> dict[str, str]:
    """Return the versions of Python and of the libraries that a model depends on.

    These are LIBRARIES, by which data are read and models stored; pandas where it reads a DataFrame; those
    that the pickled estimator names; and what was imported of the wheels that the job carries.
    """
    own = own_libraries.versions(own_libraries.imported(CODE / own_libraries.FOLDER))
    read_by = (*LIBRARIES, "pandas") if isinstance(encoding, RawColumns) else LIBRARIES
    found = {**{name: importlib.metadata.version(name) for name in read_by}, **own}
    for module in sorted(_modules_of(estimator) - set(LIBRARIES)):
        for distribution in _distributions_of(module):
            found.setdefault(distribution, importlib.metadata.version(distribution))
    return {"python": platform.python_version(), **found}


def version_here(name: str) -> str | None:
    """Return the version of a library, or of Python, in this process; None where it isn't there."""
    if name == "python":
        return platform.python_version()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _modules_of(estimator: Any) -> set[str]:
    """Return the top-level modules, of other people's libraries, that unpickling an estimator imports."""
    names: set[str] = set()

    class References(pickle.Pickler):
        """Sees every object that is pickled; what it writes is thrown away, and arrays aren't written."""

        def persistent_id(self, value: Any) -> None:
            names.add(str(getattr(value, "__module__", None) or type(value).__module__).partition(".")[0])

    with open(os.devnull, "wb") as nowhere:
        References(nowhere, protocol=5, buffer_callback=lambda _: None).dump(estimator)
    ours = {path.stem for path in CODE.glob("*.py")} | {"dropforge", "__main__"}
    return names - ours - sys.stdlib_module_names


def _distributions_of(module: str) -> list[str]:
    """Return who a module is of; nobody where it was never installed."""
    name = {"sklearn": "scikit-learn"}.get(module, module)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return [importlib.metadata.distribution(name).name]
    # Looks through all that is installed.
    return sorted(set(importlib.metadata.packages_distributions().get(module, [])))
