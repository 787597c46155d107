"""What the demo and the start of functions take beside another commit, in one run: medians.

    python -m bench releases COMMIT [--rounds 5]

The commit is checked out beside the tree and set up with its own locked packages. Both run in turn, so that
the machine's other work falls on both alike. The demo's CPU time is that of all its processes; that of a
function's start is what each tree's own `bench imports` prints, as far as both have the function.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.record import Result, at_most, kept

ROOT = Path(__file__).resolve().parents[1]
GOAL = 1.05
_START = re.compile(r"^(\w+) +(\d+) ms ", re.MULTILINE)


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The commit in a folder of its own, set up; gone afterwards.

    Raises:
        CalledProcessError: there is no such commit, or its set-up failed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as parent:
        folder = Path(parent) / "beside"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
        try:
            subprocess.run(["make", "--silent", "setup"], cwd=folder, env=_environment(folder), check=True)
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PATH": os.pathsep.join([str(tree / ".venv" / "bin"), os.environ["PATH"]])}


def demo(tree: Path) -> tuple[float, float]:
    """Run the tree's demo; return its CPU seconds and the seconds that it took.

    Raises:
        RuntimeError: it failed.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [tree / ".venv" / "bin" / "dropforge", "demo"],
        cwd=tree,
        env=_environment(tree),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"The demo of {tree} ended with {process.returncode}.")
    return used.ru_utime + used.ru_stime, time.monotonic() - began


def starts(tree: Path) -> dict[str, float]:
    """CPU milliseconds of each function's start beyond a bare interpreter, as the tree's own bench says."""
    command = [tree / ".venv" / "bin" / "python", "-m", "bench", "imports", "--rounds", "1"]
    # It fails where a goal is missed, which is no matter here.
    done = subprocess.run(
        command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False
    )
    found = {name: float(milliseconds) for name, milliseconds in _START.findall(done.stdout)}
    if not found:
        raise RuntimeError(f"bench imports of {tree} printed nothing: {done.stderr[-500:]}")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench releases", description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    measured: dict[str, dict[Path, list[float]]] = defaultdict(lambda: defaultdict(list))
    with checked_out(given.commit) as beside:
        for tree in (ROOT, beside):
            demo(tree)  # builds what the others find built
        for _ in range(given.rounds):
            for tree in (ROOT, beside):
                cpu, taken = demo(tree)
                measured["demo, s CPU"][tree].append(cpu)
                measured["demo, s"][tree].append(taken)
                for name, milliseconds in starts(tree).items():
                    measured[f"start of {name}, ms CPU"][tree].append(milliseconds)
        results: list[Result] = []
        for what, by_tree in measured.items():
            if by_tree.keys() >= {ROOT, beside}:
                now, before = (statistics.median(by_tree[tree]) for tree in (ROOT, beside))
                results.append(at_most(what, now, given.commit, before, GOAL))
                ratio = f"{now / before:5.2f} (goal {GOAL}){results[-1].missed}"
                print(f"{what:<36} {before:8.1f} {now:8.1f}  {ratio}")
    return kept(results)
