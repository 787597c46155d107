"""The product as users have deployed it: the releases that today's tree has to take over from."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEFORE_DROPS_HAD_STATES = "5f27fc00b48f290e029c9f176cf6574bf4e30daf"
WITH_STATES_OF_DROPS = "c0c4d5b2e167ed1209e5300b2313fbaf5f57d702"
WITH_A_STATE_FOR_EACH_ENDING = "d0191a71731a6caf68781907354c92348fb93207"
WITH_SPLITS_BY_TIME = "5fde9701030e5a7ade0e830a9de03a783fe8240c"
WITH_THRESHOLDS_AND_SLICES = "1e3675a0506d8e15dfe54cad0bc8b50ad7aecb05"
PRODUCT = ("core", "layers", "functions", "training", "statemachine", "template.yaml")


class HistoryMissing(Exception):
    """The checkout doesn't hold the previous release, so an upgrade can't be tried."""


def unpack_previous_release(
    folder: Path, commit: str = BEFORE_DROPS_HAD_STATES, more: Sequence[str] = ()
) -> Path:
    """Write a previous release's product into the folder. Returns the path of its template.

    A shallow clone fetches that one commit from where it came.

    Args:
        more: of the release's files and folders, beside the product.

    Raises:
        HistoryMissing: neither this checkout nor its origin has the commit.
    """
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        _git("fetch", "--quiet", "--depth=1", "origin", commit)
    archive = _git("archive", "--format=tar", commit, *PRODUCT, *more)
    if archive.returncode:
        raise HistoryMissing(
            f"The previous release is compared with, and git has no commit {commit[:7]} here: "
            f"{archive.stderr.decode().strip()}. Fetch the history: git fetch --unshallow"
        )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "template.yaml"


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # Whoever owns the checkout: it is only read.
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, check=False)
