#!/usr/bin/env bash
# scale.sh: many machines that are not there and many models on them. KWOK keeps the
# nodes and their Pods alive in the API; a real worker process with simulated devices
# answers at the address of each worker Pod. NODES=50 MODELS=200 say how many. Takes
# the cluster down again, unless KEEP=1.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"
dev=$ROOT/deploy/dev-cluster
export HEARTH_SCALE_NODES=${NODES:-50} HEARTH_SCALE_MODELS=${MODELS:-200}
unset NODES MODELS

"$dev/setup.sh"
"$dev/build.sh" soak
"$dev/up.sh"
source "$dev/env.sh"
export PATH=$TOOLS_BIN-soak:$PATH

# Addresses of Pods that no node has: this machine answers at all of them.
cidr=10.246.0.0/16
kwok=
end() {
  [ -z "$kwok" ] || kill "$kwok" 2> /dev/null || true
  ip route del local "$cidr" dev lo 2> /dev/null || true
  [ "${KEEP:-}" = 1 ] || "$dev/down.sh"
}
trap end EXIT
ip route replace local "$cidr" dev lo

# How nodes and Pods come to be and go, as KWOK ships it.
stages() {
  local part from
  from=$(cd "$dev/tools" && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for part in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease pod/fast/pod-ready pod/fast/pod-delete; do
    cat "$from/$part.yaml"
    echo ---
  done > "$RUN/stages.yaml"
}
step "Take KWOK's stages of nodes and Pods" stages
kwok --kubeconfig "$KUBECONFIG" --config "$RUN/stages.yaml" --cidr "$cidr" --node-ip "$HOST_IP" \
  --manage-all-nodes=false --manage-nodes-with-annotation-selector kwok.x-k8s.io/node=fake \
  --node-lease-duration-seconds 40 > "$RUN/logs/kwok.log" 2>&1 &
kwok=$!
KEEP=1 "$ROOT/tests/e2e.sh" scale --long
