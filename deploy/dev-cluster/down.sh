#!/usr/bin/env bash
# down.sh: ends the cluster and clears away all that it left on the machine. The
# build outputs stay. Works as well on what is left of a cluster that was killed.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ "${1:-}" = --locked ] || lock # up.sh holds the lock already
[ -e "$RUN" ] || [ -e "$SHORT" ] || ip link show "$LINK" > /dev/null 2>&1 || exit 0

# A cgroup is empty only some time after its last process.
remove_cgroups() {
  local path attempt
  for attempt in {1..40}; do
    for path in /sys/fs/cgroup/{kubepods,k8s.io} /sys/fs/cgroup/*/{kubepods,k8s.io}; do
      [ ! -d "$path" ] || find "$path" -depth -type d -exec rmdir {} + 2> /dev/null || { sleep 0.1; continue 2; }
    done
    return 0
  done
  echo "some cgroups of the cluster are still there after $attempt attempts"
}

clear_away() {
  local pid started run
  # Another HEARTH_CACHE may have been in force when it was started.
  run=$(readlink "$SHORT/run" || echo "$RUN")
  # First whoever holds the namespaces, then their process 1: all others in there
  # are gone when that one is.
  while read -r pid started; do
    [ "$(started_at "$pid")" = "$started" ] || continue
    kill -KILL "$pid"
    while [ "$(started_at "$pid")" = "$started" ] && [ "$(ps -o stat= -p "$pid")" != Z ]; do sleep 0.02; done
  done < <(cat "$SHORT/pid" 2> /dev/null)
  # It goes with its namespace, but that takes the kernel ten seconds.
  ip link del "$LINK" 2> /dev/null || true
  remove_cgroups
  [ ! -e "$run/sysctl" ] || sysctl -q -p "$run/sysctl"
  rm -rf "$run" "$SHORT"
  rmdir /var/lib/kubelet 2> /dev/null || true
}
step "Stop the cluster" clear_away
