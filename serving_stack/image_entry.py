"""The scikit-learn part of the image's serving stack, whose package is in no registry: what ``serve`` starts.

It does what that package does with sagemaker-containers: ``serve`` starts its server, which installs the
model's code and then runs gunicorn with ``main``, which imports the code, loads the model and answers by it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

from sagemaker_containers.beta.framework import env, modules, server, transformer, worker

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s - %(name)s - %(message)s")
logger = logging.getLogger(__name__)
_FUNCTIONS = ("model_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")
_application: Callable[..., Iterable[bytes]] | None = None


def _load() -> Callable[..., Iterable[bytes]]:
    serving = env.ServingEnv()
    try:
        code = importlib.import_module(serving.module_name)
    except ImportError:
        code = modules.import_module(serving.module_dir, serving.module_name)
    logger.info("imported %s", code.__file__)
    answering = transformer.Transformer(
        **{name: getattr(code, name) for name in _FUNCTIONS if hasattr(code, name)}
    )
    answering.initialize()
    logger.info("loaded the model")
    application: Callable[..., Iterable[bytes]] = worker.Worker(
        transform_fn=answering.transform, module_name=serving.module_name
    )
    return application


def main(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application; it loads the model at the first request, as the image's does."""
    global _application  # noqa: PLW0603 - one application a worker process
    if _application is None:
        _application = _load()
    return _application(environ, start_response)


def serve() -> None:
    """Start the server; what the image runs as ``serve``."""
    server.start(env.ServingEnv().framework_module)
