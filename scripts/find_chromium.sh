#!/usr/bin/env bash
# Print the path of a Chromium for the browser tests; get one first where there is none.
#
# CHROMIUM=/path/to/chromium names one outright. Otherwise one on PATH; else the distribution's package, where
# this runs as root on Debian or Ubuntu; else the one that Playwright downloads. The headless shell is the same
# engine without the desktop around it, as Playwright's own default is: its tests take a third less of the CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

on_path() {
  local name
  for name in "${CHROMIUM:-chromium-headless-shell}" chromium chromium-browser google-chrome-stable google-chrome; do
    # Ubuntu's package is a stub that only says to install a snap.
    if command -v "$name" >/dev/null 2>&1 && "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  return 1
}

of_playwright() {
  .venv/bin/python - <<'PYTHON'
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = Path(playwright.chromium.executable_path)
print(path) if path.exists() else sys.exit(1)
PYTHON
}

if on_path || of_playwright; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing Chromium for the browser tests …" >&2
  {
    apt-get update -qq || true
    # Ubuntu has no package of the shell alone.
    for package in chromium-headless-shell chromium; do
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" && break
    done || true
  } >/dev/null 2>&1
  if on_path; then
    exit 0
  fi
fi
echo "Fetching Playwright's Chromium for the browser tests …" >&2
# As root the libraries that it needs are installed too.
.venv/bin/playwright install $([ "$(id -u)" = 0 ] && echo --with-deps) chromium >&2 || true
if of_playwright; then
  exit 0
fi
echo "The browser tests need Chromium, and none could be installed. Install one (Debian: apt install chromium), or" >&2
echo "name one: CHROMIUM=/path/to/chromium make test" >&2
exit 1
