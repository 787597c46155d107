"""What a model's container is told, so that the scikit-learn image starts it whoever runs it and wherever.

The image starts by installing the model's code with pip, as the user that the container runs as, and asks the
package index while doing so. Batches and real-time endpoints run without a network here, and a serverless
container may not run as root. ``make serving-stack`` starts the image's own stack with these settings, as
root and as another user, with and without a network.
"""

from __future__ import annotations

from dropforge.domain.manifest import DIGEST_VARIABLE

_CODE = "/opt/ml/model/code"
_INSTALLED = "/tmp/dropforge"  # noqa: S108 - in the container, which is nobody else's


def serving_environment(region: str, model_digest: str) -> dict[str, str]:
    """The environment of a container that serves the model with this digest."""
    return {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": _CODE,
        "SAGEMAKER_REGION": region,
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        # One worker: a serverless endpoint scales by instances, and memory is what it is billed by.
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        # nginx's configuration would be written to /etc, which only root may.
        "SAGEMAKER_USE_NGINX": "false",
        # This 0 turns isolated builds off. One would fetch setuptools from the package index.
        "PIP_NO_BUILD_ISOLATION": "0",
        # Otherwise each start asks the package index whether there is a newer pip.
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # The image's own packages belong to root.
        "PIP_TARGET": _INSTALLED,
        # The code is imported from where the archive was unpacked; what else pip installed is found as well.
        "PYTHONPATH": f"{_CODE}:{_INSTALLED}",
        DIGEST_VARIABLE: model_digest,
    }
