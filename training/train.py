"""Trains, scores and packs one model: the process of a SageMaker training job.

    python3 /opt/ml/input/data/code/train.py

It reads ``/opt/ml`` as SageMaker lays it out (or the folder that the environment variable ``ML_ROOT`` names)
and writes the files described in ``docs/architecture.md`` (Training job). Under SageMaker's own toolkit,
which tuning jobs need, it does the same: it takes nothing from the command line or the toolkit's variables.

Exit 0: trained. Exit 1: ``output/failure`` says why, beginning with the error's class name. On SIGTERM it
removes what it has written of the model and exits 143.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    # Both have to be set before numpy and scikit-learn are loaded.
    # Sums over several BLAS threads round differently from machine to machine, which would change the
    # model's digest. Boosting's threads (OpenMP) don't matter to it.
    for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        os.environ[_name] = "1"
    # Threads that wait actively take the processor from those they wait for: on a busy machine, boosting
    # of a small table took 35 s instead of 0.65 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Arrow's own allocator keeps what it has freed.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import contextlib
import ctypes
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from champion import Champion

FAILURE_CHARACTERS = 900
"""SageMaker shows 1024 characters of the file `failure`, of which the class's name takes some."""


MAPPED_BYTES = 1 << 20
"""Arrays of this size and more have memory of their own, which goes back to the system with them."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def free_at_once() -> None:
    """Have the C library give back what large arrays took.

    glibc's bounds grow with what was freed before, and what it then keeps between arrays that last was a
    quarter of the memory of a large table's job.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library has no such bounds
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, MAPPED_BYTES)


def main() -> int:
    """Run the job. Returns the exit code."""
    root = Path(os.environ.get("ML_ROOT") or "/opt/ml")
    running: list[Champion] = []
    work: Path | None = None

    def clean_up() -> None:
        for champion in running:
            champion.stop()
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)

    try:
        # In here, so that the reason of what can't be imported reaches output/failure as well.
        from folders import Folders, clear  # noqa: PLC0415

        folders = Folders(root)

        def stop(_signal: int, _frame: object) -> None:
            # SageMaker uploads the model folder of a stopped job as well: half a model must not be in it. The
            # process ends here at once, because an estimator's threads may not return within the 120 s.
            clear(folders.model)
            clean_up()
            print("Stopped: SIGTERM received; no model was written.", flush=True)
            os._exit(128 + signal.SIGTERM)

        def lose(failure: str) -> None:
            # In a thread: the other one may wait in a library for the host that is lost.
            clear(folders.model)
            clean_up()
            write_failure(failure, folders.failure)
            print(failure, file=sys.stderr, flush=True)
            os._exit(1)

        signal.signal(signal.SIGTERM, stop)
        work = Path(tempfile.mkdtemp(prefix="training-"))
        from own_libraries import FOLDER, add  # noqa: PLC0415

        add(Path(__file__).resolve().parent / FOLDER)
        from unavailable import unavailable  # noqa: PLC0415

        with unavailable("pandas"):
            from job import train  # noqa: PLC0415

        train(folders, os.environ, work, running, lose)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        tell(error, root / "output" / "failure")
        with contextlib.suppress(ImportError):  # where it can't be imported, nothing was written
            from folders import Folders, clear  # noqa: PLC0415

            clear(Folders(root).model)
        return 1
    finally:
        clean_up()
    return 0


def tell(error: BaseException, failure: Path) -> None:
    """Write the error's class and text to SageMaker's file, and all that is known to the log."""
    told = logged = f"{error}\n\n{''.join(traceback.format_exception(error))}"
    whole = getattr(error, "whole", None)
    if whole is not None:
        from dropforge.domain.errors import cut  # noqa: PLC0415 - is there: the error is defined in it

        told, logged = cut(whole, FAILURE_CHARACTERS), whole
    name = type(error).__name__
    write_failure(f"{name}: {told}", failure)
    print(f"{name}: {logged}\n", file=sys.stderr, flush=True)


def write_failure(told: str, failure: Path) -> None:
    """Write SageMaker's file."""
    failure.parent.mkdir(parents=True, exist_ok=True)
    failure.write_text(f"{told}\n", encoding="utf-8")


if __name__ == "__main__":
    free_at_once()
    sys.exit(main())
