"""What AWS's python3.12 Lambda runtime has besides the standard library, and nothing else.

boto3 with its dependencies: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-runtime-sdk
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")


def link_runtime_packages(folder: Path) -> None:
    """Fill ``folder`` with links to the installed packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"The Lambda runtime's package {name} is not installed.")
        origin = Path(spec.origin)
        target = origin.parent if spec.submodule_search_locations else origin
        link = folder / target.name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
