#!/usr/bin/env bash
# gpu-health.sh INDEX ok|bad: what the driver, and after it the device plugin,
# says of a GPU.
case ${2:-} in
  ok | bad) exec "$(dirname "${BASH_SOURCE[0]}")/gpus.sh" "$2" "$1" ;;
  *) echo "usage: gpu-health.sh INDEX ok|bad" >&2 && exit 2 ;;
esac
