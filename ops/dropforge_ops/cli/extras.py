"""What a command needs beyond the command line itself: the extras that the package is installed with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from dropforge_ops.errors import NotInstalled

# A module that only this extra brings.
_BROUGHT: Mapping[str, str] = {"console": "nicegui", "local": "ministack", "mlflow": "mlflow"}


def require(command: str, *extras: str) -> None:
    """Make sure that what a command needs is installed, before it starts anything.

    Args:
        command: its name, for the message.
        extras: names of extras in ``pyproject.toml``.

    Raises:
        NotInstalled: one of them isn't there; the message says how to install them.
    """
    missing = [extra for extra in extras if find_spec(_BROUGHT[extra]) is None]
    if missing:
        wanted = ",".join(missing)
        raise NotInstalled(
            f"'dropforge {command}' needs the extra{'s' * (len(missing) > 1)} {' and '.join(missing)}, "
            f"not installed here. In the project's folder run 'make setup' or pip install '.[{wanted}]'."
        )
