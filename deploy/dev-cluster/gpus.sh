#!/usr/bin/env bash
# What happens to GPUs, for tests.
#   gpus.sh init              as the settings say: all healthy, none used
#   gpus.sh bad INDEX         raises an XID: the device plugin takes the GPU back
#   gpus.sh ok INDEX          ends that; the plugin is restarted, as it must be on
#                             real machines too: it never takes back its verdict
#   gpus.sh used INDEX MIB    memory that others hold, as NVML will tell
#   gpus.sh list              a line a GPU: UUID TOTAL_MIB USED_MIB COMPUTE NAME
#   gpus.sh restart-plugin    and waits until it has registered again
#   gpus.sh allocatable N     whether the node now offers N GPUs
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
state=$SHORT/gpu/state

# Readers open the file afresh each time: they must never see half of it.
replace() { cat > "$1.new" && mv "$1.new" "$1"; }

check_index() {
  local count
  count=$(wc -l < "$state/gpus")
  if ! [[ ${1:-} =~ ^[0-9]+$ ]] || [ "$1" -ge "$count" ]; then
    die "no GPU ${1:-(none named)}: there are $count, counted from 0"
  fi
}

init() {
  local i
  for ((i = 0; i < MOCK_GPUS; i++)); do
    printf 'GPU-00000000-0000-4000-8000-%012x %d 0 %s %s\n' "$i" "$MOCK_MIB" "$MOCK_COMPUTE" "$MOCK_NAME"
    # The null device stands in for each GPU's.
    [ -e "$SHORT/gpu/dev/nvidia$i" ] || mknod -m 666 "$SHORT/gpu/dev/nvidia$i" c 1 3
  done | replace "$state/gpus"
  replace "$state/unhealthy" < /dev/null
  cp "$GPU_BIN/libnvidia-ml.so.1" "$SHORT/gpu/"
}

healthy() { echo $(($(wc -l < "$state/gpus") - $(sort -u "$state/unhealthy" | wc -l))); }

allocatable() { [ "$(kubectl get node "$NODE" -o jsonpath='{.status.allocatable.nvidia\.com/gpu}')" = "$1" ]; }

await() {
  local _
  for _ in {1..300}; do
    ! allocatable "$1" || return 0
    sleep 0.1
  done
  die "the node does not offer $1 GPUs after 30 s"
}

restart_plugin() {
  kubectl -n kube-system delete pod -l app=nvidia-device-plugin --wait
  kubectl -n kube-system rollout status daemonset/nvidia-device-plugin --timeout=60s
  await "$(healthy)"
}

case ${1:-} in
  init) init ;;
  list) cat "$state/gpus" ;;
  bad)
    check_index "${2:-}"
    { cat "$state/unhealthy"; echo "$2"; } | sort -u | replace "$state/unhealthy"
    await "$(healthy)"
    ;;
  ok)
    check_index "${2:-}"
    { grep -vx "$2" "$state/unhealthy" || true; } | replace "$state/unhealthy"
    restart_plugin
    ;;
  used)
    check_index "${2:-}"
    [[ ${3:-} =~ ^[0-9]+$ ]] || die "how many MiB?"
    awk -v line=$(($2 + 1)) -v used="$3" 'NR == line {$3 = used} {print}' "$state/gpus" | replace "$state/gpus"
    ;;
  restart-plugin) restart_plugin ;;
  allocatable) allocatable "$2" ;;
  *) die "usage: gpus.sh init | bad INDEX | ok INDEX | used INDEX MIB | list | restart-plugin | allocatable N" ;;
esac
