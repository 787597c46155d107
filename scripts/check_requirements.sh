#!/usr/bin/env bash
# The layers install what uv.lock says: their requirements are its export, not a second list.
set -euo pipefail
cd "$(dirname "$0")/.."
uv lock --check --quiet
for pair in core-layer:core data-layer:layers/data; do
  if ! diff <(uv export --quiet --frozen --only-group "${pair%%:*}" --no-hashes --no-annotate --no-header) \
    "${pair#*:}/requirements.txt"; then
    echo "${pair#*:}/requirements.txt differs from uv.lock: run make lock" >&2
    exit 1
  fi
done
python training/wheels.py check
