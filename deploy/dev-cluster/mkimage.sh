#!/usr/bin/env bash
# mkimage.sh OUT.tar NAME:TAG ROOTFS [ENTRYPOINT...]
# Packs a folder as an image of one layer, in the format of `docker save`, with
# nothing but tar. The same files give the same digest.
set -euo pipefail
out=$1 reference=$2 rootfs=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tar -C "$rootfs" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$work/layer.tar" .
layer=$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)
jq -n --arg layer "sha256:$layer" '{
    architecture: "amd64", os: "linux", created: "1970-01-01T00:00:00Z",
    config: {
      Entrypoint: (if $ARGS.positional == [] then null else $ARGS.positional end),
      Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    },
    rootfs: {type: "layers", diff_ids: [$layer]},
    history: [{created: "1970-01-01T00:00:00Z"}]
  }' --args "$@" > "$work/config.json"
jq -n --arg reference "$reference" \
  '[{Config: "config.json", RepoTags: [$reference], Layers: ["layer.tar"]}]' > "$work/manifest.json"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$out" manifest.json config.json layer.tar
