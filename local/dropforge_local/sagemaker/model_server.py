"""The model server of a container: behaves as the scikit-learn image's own does, in front of the user's code.

Run as a script inside the container: ``model_server.py <listening file descriptor> [--isolated]``, the latter
in a container without a network. Settings are the image's environment variables: ``SAGEMAKER_PROGRAM``,
``SAGEMAKER_SUBMIT_DIRECTORY``, ``SAGEMAKER_MODEL_SERVER_WORKERS``, ``SAGEMAKER_MODEL_SERVER_TIMEOUT``,
``SAGEMAKER_CONTAINER_LOG_LEVEL`` and ``SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT``.

As in the image, an exception in the user's functions is answered with status 500, whatever it is; only a
``flask.Response`` from ``transform_fn`` or ``output_fn`` chooses a status. Unlike in the image, a model that
can't be loaded ends the server at once, because then no health check can succeed. And nothing is installed:
what the image's pip would fail at is refused. ``docs/what-aws-decides.md`` lists what differs.
"""

from __future__ import annotations

import csv
import importlib
import importlib.metadata
import io
import json
import logging
import os
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import flask
import numpy as np
from gunicorn.app.base import BaseApplication

logger = logging.getLogger("model_server")

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
_TEXT_TYPES = (JSON, CSV)
_OFF = ("0", "false", "f", "no", "n", "off")
_LOADED = threading.Event()

Transform = Callable[[Any, Any, str, str], Any]


class UnsupportedContentType(Exception):
    """The default functions know JSON, CSV and NPY only."""


def decode(content: str | bytes, content_type: str) -> np.ndarray:
    """A request's body as an array: float32 for text types, as the image's default ``input_fn`` gives it."""
    if content_type == JSON:
        return np.array(json.loads(content)).astype(np.float32)
    if content_type == CSV:
        text = content if isinstance(content, str) else content.decode()
        rows = list(csv.reader(io.StringIO(text), strict=True))
        return np.array(rows).squeeze().astype(np.float32)
    if content_type == NPY:
        raw = content if isinstance(content, bytes) else content.encode()
        return np.load(io.BytesIO(raw), allow_pickle=False)
    raise UnsupportedContentType(content_type)


def encode(prediction: Any, accept: str) -> str | bytes:
    """A prediction as an answer's body."""
    if accept == JSON:
        return json.dumps(prediction, default=_plain)
    if accept == CSV:
        array = np.array(prediction)
        rows = array.reshape(-1, 1) if array.ndim == 1 else array
        file = io.StringIO()
        csv.writer(file, lineterminator="\n", strict=True).writerows(rows.tolist())
        return file.getvalue()
    if accept == NPY:
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(prediction), allow_pickle=False)
        return buffer.getvalue()
    raise UnsupportedContentType(accept)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def _default_input_fn(content: Any, content_type: str) -> Any:
    return decode(content, content_type)


def _default_predict_fn(data: Any, model: Any) -> Any:
    return model.predict(data)


def _default_output_fn(prediction: Any, accept: str) -> Any:
    return flask.Response(encode(prediction, accept), mimetype=accept)


def transform_of(module: ModuleType) -> Transform:
    """The function that answers a request, made of what the user's module defines.

    Raises:
        ValueError: both ``transform_fn`` and one of the functions that it stands for are defined.
    """
    whole = getattr(module, "transform_fn", None)
    parts = {name: getattr(module, name, None) for name in ("input_fn", "predict_fn", "output_fn")}
    if whole is not None:
        if any(part is not None for part in parts.values()):
            raise ValueError(
                "Cannot use transform_fn implementation with input_fn, predict_fn, and/or output_fn"
            )
        return whole
    input_fn = parts["input_fn"] or _default_input_fn
    predict_fn = parts["predict_fn"] or _default_predict_fn
    output_fn = parts["output_fn"] or _default_output_fn

    def transform(model: Any, content: Any, content_type: str, accept: str) -> Any:
        return output_fn(predict_fn(input_fn(content, content_type), model), accept)

    return transform


def build_app(transform: Transform, model: Any, default_accept: str = JSON) -> flask.Flask:
    """The web application: ``GET /ping`` and ``POST /invocations``."""
    app = flask.Flask("model")

    @app.get("/ping")
    def ping() -> flask.Response:
        return flask.Response(status=200, mimetype=JSON)

    @app.post("/invocations")
    def invocations() -> Any:
        request = flask.request
        content_type = request.headers.get("ContentType") or request.headers.get("Content-Type") or JSON
        accept = request.headers.get("Accept")
        if not accept or accept == "*/*":
            accept = default_accept
        text = content_type in _TEXT_TYPES
        content = request.get_data(as_text=True) if text else request.get_data()
        result = transform(model, content, content_type, accept)
        if isinstance(result, tuple):
            return flask.Response(result[0], mimetype=result[1])
        return result

    return app


def ml_root() -> Path:
    """``/opt/ml``, or where the host put it."""
    return Path(os.environ.get("ML_ROOT", "/opt/ml"))


def missing_requirements(path: Path) -> list[str]:
    """The lines of a ``requirements.txt`` that the interpreter's packages don't meet."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - rarely needed

    missing = []
    for raw in path.read_text().splitlines():
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        try:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            version = importlib.metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                missing.append(f"{line} (installed: {version})")
        except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
            missing.append(line)
    return missing


def asks_the_package_index(code: Path) -> bool:
    """Whether the image's ``pip install .``, which it runs at each start, fetches what it builds with.

    It does so unless the code's pyproject.toml requires nothing for its build, or the model's environment
    turns isolated builds off; pip reads the variable as the value of ``--no-build-isolation``'s opposite.
    """
    if os.environ.get("PIP_NO_BUILD_ISOLATION", "1").lower() in _OFF:
        return False
    try:
        project = tomllib.loads((code / "pyproject.toml").read_text())
    except FileNotFoundError:
        return True
    return bool(project.get("build-system", {}).get("requires", ["setuptools"]))


def import_program(*, isolated: bool = False) -> ModuleType:
    """The user's module, from ``/opt/ml/code``, where the host put a copy as the image makes one.

    Args:
        isolated: the container has no network.

    Raises:
        RuntimeError: a setting is missing, the module needs packages that aren't there, or its installation
            needs the network.
    """
    program = os.environ.get("SAGEMAKER_PROGRAM")
    if not program:
        raise RuntimeError("The environment variable SAGEMAKER_PROGRAM must name the inference script.")
    code = ml_root() / "code"
    if not code.is_dir():
        code = Path(os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", code))
    if isolated and asks_the_package_index(code):
        raise RuntimeError(
            "InstallModuleError: at each start, the image's pip builds the model's code and fetches "
            "setuptools from the package index, and this container has no network. Set "
            "PIP_NO_BUILD_ISOLATION=0 in the model's environment, or have the code's pyproject.toml "
            "require nothing for its build."
        )
    requirements = code / "requirements.txt"
    if isolated and requirements.is_file() and os.environ.get("PIP_TARGET"):
        raise RuntimeError(
            "InstallModuleError: pip, told to install to PIP_TARGET, fetches all that requirements.txt asks "
            "for, also what the image has, and this container has no network. Leave the file out."
        )
    if requirements.is_file() and (missing := missing_requirements(requirements)):
        raise RuntimeError(
            "requirements.txt asks for packages that this machine doesn't have, and the local host installs "
            f"none: {', '.join(missing)}. Add them to the project's environment."
        )
    sys.path.insert(0, str(code))
    return importlib.import_module(Path(program).stem)


def load_app(*, isolated: bool = False) -> flask.Flask:
    """Import the user's module, load the model, build the application."""
    module = import_program(isolated=isolated)
    transform = transform_of(module)
    model_fn = getattr(module, "model_fn", None)
    if model_fn is None:
        raise RuntimeError(f"Please provide a model_fn implementation in {module.__name__}.py.")
    model = model_fn(str(ml_root() / "model"))
    return build_app(transform, model, os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON))


def _keep_alive(_arbiter: Any, worker: Any) -> None:
    """Tell gunicorn that a worker lives while it loads its model, which may take longer than a request."""

    def notify() -> None:
        while not _LOADED.wait(1.0):
            worker.notify()

    threading.Thread(target=notify, daemon=True).start()


class Server(BaseApplication):
    """gunicorn on a socket that the host listens on already."""

    def __init__(self, listening: int, *, isolated: bool) -> None:
        self._listening = listening
        self._isolated = isolated
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": f"fd://{self._listening}",
            "workers": int(os.environ.get("SAGEMAKER_MODEL_SERVER_WORKERS") or os.cpu_count() or 1),
            "worker_class": "sync",
            "timeout": int(os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT") or 60),
            "graceful_timeout": 10,
            "post_fork": _keep_alive,
            "loglevel": "warning",
            # Nobody steers a container's server, and all of one user's would share a socket.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> flask.Flask:
        app = load_app(isolated=self._isolated)
        _LOADED.set()
        return app


def main() -> None:
    """Serve until told to end."""
    level = int(os.environ.get("SAGEMAKER_CONTAINER_LOG_LEVEL") or logging.INFO)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s - %(name)s - %(message)s")
    Server(int(sys.argv[1]), isolated="--isolated" in sys.argv[2:]).run()


if __name__ == "__main__":
    main()
