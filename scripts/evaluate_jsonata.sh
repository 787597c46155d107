#!/usr/bin/env bash
# The reference engine of JSONata: reads an {"expression", "variables"} a line, writes its {"value"}, {"undefined": true}
# or {"error"} a line.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/node_package.sh

install_package jsonata
NODE_PATH=$folder/node_modules node node scripts/jsonata/evaluate.js
