#!/usr/bin/env bash
# disk.sh small CLAIM MIB: puts a disk of that size behind a claim of the chart's
#                          namespace, empty, in place of the one that is there
# disk.sh whole CLAIM      takes it away again
# No Pod may use the claim meanwhile: one that runs keeps the disk that it has.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

volume() {
  local name
  name=$(kubectl -n hearth-system get pvc "$1" -o jsonpath='{.spec.volumeName}')
  [ -n "$name" ] || die "the claim $1 has no volume"
  [ -d "$RUN/volumes/$name" ] || die "no folder $RUN/volumes/$name"
  echo "$RUN/volumes/$name"
}

# In the mounts of process 1 of the node, which every Pod's come from.
# umount looks itself up in /proc, which is that of the node.
in_node() { nsenter -t "$(sed -n '2s/ .*//p' "$SHORT/pid")" -m -p "$@"; }

case ${1:-} in
  small)
    [[ ${3:-} =~ ^[0-9]+$ ]] || die "how many MiB?"
    in_node mount -t tmpfs -o "size=$3m,mode=0777" small "$(volume "${2:-}")"
    ;;
  whole) in_node umount -l "$(volume "${2:-}")" ;;
  *) die "usage: disk.sh small CLAIM MIB | whole CLAIM" ;;
esac
