#!/usr/bin/env bash
# The state machines as other people's linters see them: asl-validator, and cfn-lint with the definitions embedded.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/node_package.sh

install_package asl-validator
paths=()
for definition in statemachine/*.asl.json; do
  paths+=(--json-path "$definition")
done
if ! node node "$folder/node_modules/asl-validator/dist/bin/asl-validator.js" "${paths[@]}"; then
  echo "Mend the .asl.yaml of the same name, then run 'make machines'." >&2
  exit 1
fi
python scripts/lint_state_machines.py
