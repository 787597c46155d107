#!/usr/bin/env bash
# cfn-guard with the rules of AWS Control Tower's proactive controls (both Apache-2.0), over a folder's templates.
# Prints JSON. Exit code 69: it can't be had on this machine.
set -Eeuo pipefail
cd "$(dirname "$0")/.."
. scripts/node_package.sh

trap 'exit 69' ERR
install_package cfn-guard
package=$folder/node_modules/@cdklabs/cdk-validator-cfnguard
case $(uname -s) in Linux) system=ubuntu ;; Darwin) system=macos ;; *) exit 69 ;; esac
guard=$package/bin/$system/$(uname -m | sed s/arm64/aarch64/)/cfn-guard
test -x "$guard"
trap - ERR
"$guard" validate --rules "$package/rules/control-tower/cfn-guard" --data "$1" \
  --output-format json --structured --show-summary none
