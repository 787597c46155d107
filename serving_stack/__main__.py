"""``python -m serving_stack``: the image's own serving stack beside the local model server.

It trains a model as a training job does, and gives its archive, and the same archive as the previous release
wrote it, to both; and archives that carry libraries of their own. Exit 0: every cell that this user can run
came out as expected and equal. In CI (the variable ``CI``) a cell that can't be run counts as failed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from bench.serving import PeerAbsent, nginx

from dropforge_local.sagemaker.container import has_namespaces
from serving_stack.cases import requests_for
from serving_stack.cells import Cell, alone, cells_for, train
from serving_stack.environment import CannotInstall, serving_environment_folder
from serving_stack.phases import compare_phases
from serving_stack.starts import Ran, run


def why_not(cell: Cell, nginx_binary: str | None) -> str | None:
    """Why this user can't run a cell here; None if they can."""
    root = os.geteuid() == 0
    if cell.user != 0 and not root:
        return "only root can start it as another user"
    if not root and not has_namespaces(sys.executable):
        return "needs root, or user namespaces"
    if cell.with_nginx and not root:
        return "nginx becomes another user, which only root may"
    if cell.with_nginx and nginx_binary is None:
        return "nginx can't be installed"
    return None


def labels(cell: Cell) -> str:
    """The first columns of the table."""
    network = "yes" if cell.network else "none"
    return f"{cell.archive.name:17}{cell.settings:20}{cell.user:>6} {network:8}"


def results(cell: Cell, ran: Ran) -> str:
    """The last columns of the table."""
    if ran.seconds is not None:
        start, same = f"200 after {ran.seconds:.1f} s", str(ran.equal)
    else:
        start, same = f"{ran.outcome}, {cell.said}", "refused too" if cell.locally else "-"
    return f"{start:29}{len(ran.asked):<15}{same}"


def main() -> int:
    """Print the table and what differed; see the module."""
    if sys.platform != "linux":
        print("The image's serving stack is started in Linux namespaces; run this on Linux.", file=sys.stderr)
        return 1
    try:
        stack = serving_environment_folder()
    except CannotInstall as error:
        print(f"The image's packages can't be installed: {error}", file=sys.stderr)
        return 1
    nginx_binary = None
    with contextlib.suppress(PeerAbsent):
        nginx_binary = nginx()
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="serving-stack-") as temporary:
        work = Path(temporary)
        today, previous = train(work)
        print(f"{'archive':17}{'environment':20}{'user':>6} {'network':8}", end="")
        print(f"{'start':29}{'asked outside':15}same answers", flush=True)
        for cell in cells_for(today, previous, work):
            print(labels(cell), end="", flush=True)
            if (reason := why_not(cell, nginx_binary)) is not None:
                skipped += 1
                print(f"not run: {reason}", flush=True)
                continue
            ran = run(cell, stack, requests_for(cell.archive.smoke), nginx_binary)
            passed, failed = passed + (not ran.problems), failed + bool(ran.problems)
            print(results(cell, ran), flush=True)
            for problem in ran.problems:
                print(f"  DIFFERS {problem}", flush=True)
        if why_not(alone(today), nginx_binary) is None:
            met = compare_phases(today, previous, stack)
            passed, failed = passed + met, failed + (not met)
    if os.environ.get("CI"):
        failed, skipped = failed + skipped, 0
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
