# shellcheck shell=bash
# Sourced by every script: where things lie, timed steps, outputs keyed by what
# made them. What a person reads goes to stderr; stdout is for results.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HEARTH_CACHE=${HEARTH_CACHE:-$HOME/.cache/hearth}
export ROOT HEARTH_CACHE
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HEARTH_CACHE/target}
export GOFLAGS="-buildvcs=false ${GOFLAGS:-}"
[ -d "$HOME/.cargo/bin" ] && PATH=$PATH:$HOME/.cargo/bin
[ -d /usr/local/go/bin ] && PATH=$PATH:/usr/local/go/bin
export PATH

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Milliseconds, for differences only.
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# 754 -> 0.8s, 83211 -> 83.2s
seconds() { printf '%d.%ds' $((($1 + 50) / 1000)) $((($1 + 50) % 1000 / 100)); }

# step WHAT COMMAND...: says what, runs the command quietly, says how long it
# took. Where it fails, the end of its output is shown, and where all of it lies.
step() {
  local what=$1 start log status=0
  shift
  start=$(now_ms)
  mkdir -p "$HEARTH_CACHE/log"
  log=$(mktemp "$HEARTH_CACHE/log/step.XXXXXX")
  printf '==> %s\n' "$what" >&2
  # Not as a condition: `set -e` must hold inside the command.
  set +e
  (set -e; "$@") > "$log" 2>&1
  status=$?
  set -e
  if [ "$status" != 0 ]; then
    tail -n 40 "$log" | sed 's/^/    /' >&2
    die "$what: failed after $(seconds $(($(now_ms) - start))); all of its output: $log"
  fi
  rm -f "$log"
  printf '    %s\n' "$(seconds $(($(now_ms) - start)))" >&2
}

# show WHAT COMMAND...: a step whose output is worth seeing while it runs.
show() {
  local what=$1 start status
  shift
  start=$(now_ms)
  printf '==> %s\n' "$what" >&2
  set +e
  (set -e; "$@")
  status=$?
  set -e
  [ "$status" = 0 ] || die "$what: failed after $(seconds $(($(now_ms) - start)))"
  printf '    %s\n' "$(seconds $(($(now_ms) - start)))" >&2
}

# hash_of PATH...: 16 digits that change with the content, the names or the
# executable bits of files and folders below the current folder.
hash_of() {
  find "$@" -type f -printf '%m %p\0' | sort -z | while IFS= read -r -d '' entry; do
    printf '%s %s\n' "$entry" "$(sha256sum < "${entry#* }")"
  done | sha256sum | cut -c1-16
}

# ensure DIR WHAT COMMAND...: unless DIR exists, runs `COMMAND... TEMPORARY` as a
# step and moves what it made to DIR, so that a build that was cut off leaves
# nothing that looks whole. DIR's name carries the hash of what makes it.
ensure() {
  local dir=$1 what=$2 work
  shift 2
  if [ -d "$dir" ]; then
    touch "$dir"
    return
  fi
  mkdir -p "$(dirname "$dir")"
  work=$(mktemp -d "$dir.XXXXXX")
  step "$what" "$@" "$work"
  chmod 755 "$work"
  mv -T "$work" "$dir"
  # What no clone has used for two weeks, and what was cut off a day ago.
  find "$(dirname "$dir")" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +
  find "$(dirname "$dir")" -mindepth 1 -maxdepth 1 -name '*.??????' -mtime +1 -exec rm -rf {} +
}
