"""What a browser needs: a Chromium, and the console of a stack as its user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright

from dropforge_local.host import LocalHost

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "breast-cancer"
_DROPFORGE = Path(sys.executable).parent / "dropforge"
_STOP_WITHIN_S = 20


def chromium(playwright: Playwright) -> Browser:
    """Start a Chromium, which is installed first where there is none."""
    script = ROOT / "scripts" / "find_chromium.sh"
    path = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    # The headless shell would place letters at whole pixels, as no window does.
    return playwright.chromium.launch(executable_path=path, args=["--font-render-hinting=none"])


@contextmanager
def console_of(host: LocalHost, stack_name: str, folder: Path) -> Iterator[str]:
    """Run the console of a stack for the length of a block, from a folder of its own. Yields its URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(
        [_DROPFORGE, "console", "--json", "--endpoint-url", host.endpoint_url, "--stack", stack_name],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _announced(process)
    finally:
        process.terminate()
        process.wait(_STOP_WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()


def _announced(process: subprocess.Popen[str]) -> str:
    document = ""
    for line in process.stdout or ():
        document += line
        if line == "}\n":
            return str(json.loads(document)["url"])
    raise AssertionError("the console did not start")
