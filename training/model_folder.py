"""Writes the folder that becomes ``model.tar.gz``: the model, how to serve it, and digests of all files."""

from __future__ import annotations

import copyreg
import functools
import importlib.metadata
import pickle
import platform
import shutil
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
from report import write_json
from settings import Settings

CODE = Path(__file__).resolve().parent

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
    encoding: Encoding,
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
    for name in ("inference.py", "model.py", "build_backend.py", "own_libraries.py", "shared_objects.py"):
        shutil.copyfile(CODE / name, folder / "code" / name)
    if compilation.compiled is None and (CODE / own_libraries.FOLDER).is_dir():
        # The pickle serves, and so what it imports.
        shutil.copytree(CODE / own_libraries.FOLDER, folder / own_libraries.FOLDER)
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
        "libraries": libraries(),
        "hyperparameters": settings.given,
        "contract_hash": encoding.contract.hash,
        "seed": settings.seed,
        "fitted": fitted,
        "seen_until": newest,
    }
    write_json(folder / manifest.FILE_NAME, content)
    return digest


@functools.cache
def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a model depends on."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    own = own_libraries.versions(CODE / own_libraries.FOLDER)
    return {"python": platform.python_version(), **versions, **own}
