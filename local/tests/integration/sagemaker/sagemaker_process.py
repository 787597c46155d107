"""A process with a service in it, for tests that kill it: ``sagemaker_process.py <folder>``.

Prints its URL, then serves until it is killed.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from sagemaker_host import Host, Server

from dropforge_local.sagemaker.service import Limits, SageMaker


def main(folder: Path) -> None:
    host = Host(folder / "s3")
    service = SageMaker(folder / "state", host.ports(), limits=Limits(health_check_s=20.0, log_flush_s=0.05))
    service.start()
    print(Server(service).url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
