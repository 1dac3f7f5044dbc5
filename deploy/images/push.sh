#!/usr/bin/env bash
# push.sh REGISTRY/PATH: pushes the images that build.sh made last, for a cluster
# that is not on this machine. Log in with `buildah login` before.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
registry=${1:?usage: push.sh REGISTRY/PATH}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for part in operator worker; do
  reference=hearth-$part:$(tag "$part")
  buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs pull --quiet "docker-archive:$(archive "$part")"
  step "Push $registry/$reference" buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs \
    push "localhost/$reference" "docker://$registry/$reference"
done
