#!/usr/bin/env bash
# Make .venv with exactly what uv.lock says, given nothing but a Python 3.12 somewhere on the machine.
#
# A version manager's `python3.12` on PATH can be a shim that fails unless that version is selected, so each
# candidate is asked to run before it is believed. PYTHON312=/path/to/python3.12 names one outright.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8
tools=.dropforge/tools
stamp=.venv/.synced-with

lock_digest() { cat uv.lock pyproject.toml local/pyproject.toml | cksum; }

if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(lock_digest)" ]; then
  exit 0
fi

is_python312() {
  [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.12 ]
}

find_python() {
  local candidate
  for candidate in "${PYTHON312:-}" python3.12 python3 python \
    /usr/bin/python3.12 /usr/local/bin/python3.12 /opt/homebrew/bin/python3.12 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python3.12 \
    "${ASDF_DATA_DIR:-$HOME/.asdf}"/installs/python/3.12*/bin/python3.12 \
    "$HOME"/.local/share/mise/installs/python/3.12*/bin/python3.12 \
    "$HOME"/.local/share/uv/python/cpython-3.12*/bin/python3.12 \
    /opt/conda/envs/*/bin/python3.12 "$HOME"/miniconda3/envs/*/bin/python3.12; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 && is_python312 "$candidate"; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

if ! python=$(find_python); then
  if command -v uv >/dev/null 2>&1; then
    python=3.12 # uv fetches one
  else
    echo "dropforge needs Python 3.12, and none was found on PATH or where version managers keep theirs." >&2
    echo "Install it (Debian: apt install python3.12-venv; macOS: brew install python@3.12; any: pyenv install 3.12)" >&2
    echo "or name one: make PYTHON312=/path/to/python3.12 …" >&2
    exit 1
  fi
fi

# What is installed, and the copy in uv's cache where a file can't be linked.
NEEDED_MIB=3500
free_mib=$(df -Pm . | awk 'NR == 2 { print $4 }')
if [ ! -d .venv ] && [ "${free_mib:-$NEEDED_MIB}" -lt "$NEEDED_MIB" ]; then
  echo "Set-up needs about $((NEEDED_MIB / 1000)) GB of disk; $free_mib MB are free in $PWD." >&2
  exit 1
fi
if [ -z "${UV_CACHE_DIR:-}" ] && ! mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}/uv" 2>/dev/null; then
  echo "Your home can't be written, so downloads are kept in .dropforge/cache/uv." >&2
  export UV_CACHE_DIR=$PWD/.dropforge/cache/uv
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Run what installs; where it fails, show what it said and say in a line what to do.
installing() {
  "$@" 2>"$log" && return
  cat "$log" >&2
  if grep -qi "certificate" "$log"; then
    echo "A proxy's certificate isn't trusted: name its authority's file, SSL_CERT_FILE=/path/to/ca.pem make setup," >&2
    echo "or take the system's, UV_SYSTEM_CERTS=1 make setup." >&2
  elif grep -qi "no space left" "$log"; then
    echo "The disk is full: set-up needs about $((NEEDED_MIB / 1000)) GB, here and in ${UV_CACHE_DIR:-the cache of uv}." >&2
  elif grep -qiE "permission denied|read-only file system" "$log"; then
    echo "A folder can't be written: UV_CACHE_DIR=/a/folder of yours moves uv's cache; this checkout has to be yours." >&2
  elif grep -qiE "dns|connect|timed out|resolve|unreachable|download|retries|fetch" "$log"; then
    echo "PyPI can't be reached: set HTTPS_PROXY for a proxy, UV_DEFAULT_INDEX and PIP_INDEX_URL for a mirror." >&2
  fi
  exit 1
}

# `sam build` and uv want a real python3.12 first on PATH, not a shim.
[ -x "$python" ] && PATH="$(dirname "$python"):$PATH"
if command -v uv >/dev/null 2>&1 && uv --version 2>/dev/null | grep -q "^uv 0\.13\."; then
  uv=uv
else
  if ! "$tools/bin/uv" --version 2>/dev/null | grep -qF "uv $UV_VERSION"; then
    echo "Fetching uv $UV_VERSION …" >&2
    pip=("$tools/bin/python" -m pip)
    unpacked=()
    if "$python" -c 'import pip' 2>/dev/null; then
      # That one will do; unpacking another takes longer than all the rest here.
      pip=("$python" -m pip --python "$tools/bin/python")
      unpacked=(--without-pip)
    fi
    if ! "$python" -m venv --clear ${unpacked[@]+"${unpacked[@]}"} "$tools"; then
      echo "Python 3.12 at $python lacks the venv module (Debian: apt install python3.12-venv)." >&2
      exit 1
    fi
    installing "${pip[@]}" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
  fi
  uv="$tools/bin/uv"
fi

echo "Installing what uv.lock names …" >&2
installing "$uv" sync --quiet --frozen --extra all --python "$python"
lock_digest >"$stamp"
