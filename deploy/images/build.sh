#!/usr/bin/env bash
# build.sh: compiles the binaries, packs an image of each, and loads them into the
# development cluster if that is up. BASE=IMAGE sets another base.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

base() { "$IMAGES/base.sh" "$1/base.tar" localhost/hearth-base:dev; }

# pack PART DIR: buildah with a storage of its own, which goes when it is done.
pack() {
  local name=hearth-$1 out=$2 work status=0
  work=$(mktemp -d)
  mkdir "$work/context"
  strip --strip-all -o "$work/context/$name" "$CARGO_TARGET_DIR/debug/$name"
  in_storage() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
  {
    if [ -z "${BASE:-}" ]; then
      in_storage pull --quiet "docker-archive:$BASE_DIR/base.tar"
    else
      in_storage pull --quiet "$BASE"
    fi &&
      in_storage bud --isolation chroot --pull-never --build-arg "BASE=${BASE:-localhost/hearth-base:dev}" \
        --file "$IMAGES/$1/Containerfile" --tag "localhost/$name:$(tag "$1")" "$work/context" &&
      in_storage push --quiet "localhost/$name:$(tag "$1")" "docker-archive:$out/image.tar:localhost/$name:$(tag "$1")"
  } || status=$?
  rm -rf "$work"
  return $status
}

"$ROOT/deploy/cargo-target.sh"
# A terminal shows one moving line; a log would get one a crate.
quiet=(--quiet)
[ ! -t 2 ] || quiet=()
show "Compile the binaries (the first time: about 10 minutes)" cargo build --locked "${quiet[@]}" --workspace --bins
[ -n "${BASE:-}" ] || ensure "$BASE_DIR" "Make the base image out of Debian packages" base
for part in operator worker; do
  ensure "$(dirname "$(archive "$part")")" "Pack localhost/hearth-$part:$(tag "$part")" pack "$part"
  # Each is as large as its binary: keep the latest few.
  find "$HEARTH_CACHE/images/hearth-$part" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +9 | cut -d ' ' -f 2- | xargs -r rm -rf
  if [ -S /run/hearth-dev/containerd.sock ]; then
    "$ROOT/deploy/dev-cluster/load.sh" "localhost/hearth-$part:$(tag "$part")" "$(archive "$part")"
  fi
done
