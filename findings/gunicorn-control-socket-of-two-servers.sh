#!/usr/bin/env bash
# gunicorn 26: two servers of one user share a control socket, and nobody is told.
#
# Since 25.1 each server opens a socket for `gunicornc`, by default one path per user. Guess: the second server takes a
# path of its own, or says that the path is taken. Seen with gunicorn 26.0.0 on Python 3.12: the second replaces the
# first's socket, both log that they listen at it, and `gunicornc` speaks to the second. When that ends it removes the
# path; the first serves on and can't be reached by `gunicornc` any more. Nothing is logged above INFO.
set -euo pipefail
work=$(mktemp -d)
first='' second=''
finish() {
  for pid in $first $second; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gunicorn==26.0.0 packaging==26.2
mkdir "$work/home"
cat >"$work/application.py" <<'PYTHON'
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
PYTHON
cd "$work"
export HOME="$work/home"
unset XDG_RUNTIME_DIR
gunicorn() { exec "$work/venv/bin/gunicorn" --bind "unix:$work/$1.sock" --log-file "$work/$1.log" application:application; }
await() { for _ in $(seq 200); do grep -q "$1" "$work/$2.log" 2>/dev/null && return; sleep 0.1; done; echo "no $1 in $2.log" >&2; exit 1; }
workers() { "$work/venv/bin/gunicornc" -c 'show workers' 2>&1 || true; }
worker_of() { sed -n 's/.*Booting worker with pid: //p' "$work/$1.log"; }

gunicorn one & first=$!
await 'Control socket listening' one
gunicorn two & second=$!
await 'Control socket listening' two
sleep 1
seen=$(workers)
echo "$seen"
grep -q "^$(worker_of two) " <<<"$seen" || { echo "gunicornc doesn't speak to the second" >&2; exit 1; }
! grep -q "^$(worker_of one) " <<<"$seen" || { echo "gunicornc speaks to the first" >&2; exit 1; }
kill "$second"
wait "$second" || true
second=''
seen=$(workers)
echo "$seen"
grep -q 'Failed to connect' <<<"$seen" || { echo "the first can still be reached" >&2; exit 1; }
kill -0 "$first"
! grep -hE '\[(WARNING|ERROR|CRITICAL)\]' "$work/one.log" "$work/two.log" || { echo "somebody said so" >&2; exit 1; }
echo "as seen: one socket for two servers of a user, and none after the second has ended"
