#!/usr/bin/env bash
# Layers and exported images install what uv.lock says: their requirements are its export, not a second list.
# --write exports them anew.
set -euo pipefail
cd "$(dirname "$0")/.."
uv lock --check --quiet
image=ops/dropforge_ops/image_files/requirements
while read -r file options; do
  # shellcheck disable=SC2086 # several options
  exported=$(uv export --quiet --frozen --no-annotate --no-header $options)
  if [ "${1:-}" = --write ]; then
    echo "$exported" >"$file"
  elif ! diff <(echo "$exported") "$file"; then
    echo "$file differs from uv.lock: run make lock" >&2
    exit 1
  fi
done <<END
core/requirements.txt --no-hashes --only-group core-layer
layers/data/requirements.txt --no-hashes --only-group data-layer
$image/compiled.txt --only-group image
$image/estimator.txt --only-group image --only-group image-estimator
END
python training/wheels.py check
