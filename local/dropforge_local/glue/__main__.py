"""``python -m dropforge_local.glue <settings>``: the host process."""

from __future__ import annotations

import sys

from dropforge_local.glue.launcher import run
from dropforge_local.settings import HostSettings

if __name__ == "__main__":
    run(HostSettings.from_json(sys.argv[1]))
