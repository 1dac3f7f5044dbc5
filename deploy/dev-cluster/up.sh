#!/usr/bin/env bash
# up.sh [--fresh]: brings up a one-node Kubernetes with all that Hearth needs of
# a cluster, and returns when it can be used. One that is up already, made from
# the same sources and settings, is used as it is; what is left of one that was
# killed is cleared away first. It lives in network, mount and process
# namespaces of its own.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$DEV/setup.sh"
lock
"$DEV/build.sh"
"$DEV/models.sh"

healthy() {
  alive && [ "$(cat "$RUN/fingerprint" 2> /dev/null)" = "$(fingerprint)" ] &&
    [ "$(kubectl --request-timeout=5s get node "$NODE" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' 2> /dev/null)" = True ]
}
if [ "${1:-}" != --fresh ] && healthy; then
  say "==> The cluster is up already (KUBECONFIG=$KUBECONFIG)"
  exit
fi
"$DEV/down.sh" --locked

# wait_for SECONDS COMMAND...: until the command succeeds, the node dies or time is up.
wait_for() {
  local until=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" > /dev/null 2>&1; do
    alive || die "the node ended; its logs: $RUN/logs"
    [ "$(now_ms)" -lt "$until" ] || die "gave up waiting for: $*; the node's logs: $RUN/logs"
    sleep 0.1
  done
}

# Whether this file system can be the lower and upper layers of an overlay.
overlay_works() {
  local dir works=1
  dir=$(mktemp -d "$RUN/overlay.XXXXXX")
  mkdir "$dir"/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/merged" 2> /dev/null; then
    umount "$dir/merged"
    works=0
  fi
  rm -rf "$dir"
  return $works
}

configure() {
  local file name snapshotter=native
  mkdir -p "$RUN"/{logs,etcd,cni,kubelet,volumes} "$SHORT/gpu/state" "$SHORT/gpu/dev" /var/lib/kubelet
  chmod 700 "$RUN" "$RUN/etcd"
  ln -s "$RUN" "$SHORT/run"
  # The kubelet sets these for the machine: down.sh sets them back.
  for name in vm.overcommit_memory kernel.panic kernel.panic_on_oops; do
    echo "$name=$(sysctl -n $name)"
  done > "$RUN/sysctl"
  "$DEV/certs.sh" "$RUN/pki"
  cp "$RUN/pki/admin.kubeconfig" "$KUBECONFIG"
  overlay_works && snapshotter=overlayfs
  for file in containerd.toml kubelet.yaml kube-proxy.yaml kube-scheduler.yaml; do
    fill "$snapshotter" < "$DEV/config/$file" > "$RUN/$file"
  done
  fill "$snapshotter" < "$DEV/config/cni.conflist" > "$RUN/cni/10-pods.conflist"
  echo "nameserver $HOST_IP" > "$RUN/resolv.conf"
  sed 's/^/      /' "$RUN/pki/models-ca.crt" > "$RUN/models-ca.indented"
  fill "" < "$DEV/values.yaml" | sed -e "/@MODELS_CA@/{r $RUN/models-ca.indented" -e 'd}' > "$RUN/values.yaml"
  "$DEV/gpus.sh" init
}

fill() {
  sed -e "s|@RUN@|$RUN|g; s|@SHORT@|$SHORT|g; s|@GPU_BIN@|$GPU_BIN|g; s|@NODE@|$NODE|g; s|@NODE_IP@|$NODE_IP|g" \
    -e "s|@POD_CIDR@|$POD_CIDR|g; s|@DNS_IP@|$DNS_IP|g; s|@SNAPSHOTTER@|$1|g" \
    -e "s|@MODELS_DIR@|$HEARTH_CACHE/models|g; s|@MODELS_NAMESPACE@|$MODELS_NAMESPACE|g; s|@MODELS_HOST@|$MODELS_HOST|g; s|@MODELS_IP@|$MODELS_IP|g"
}

start_node() {
  local pid init
  # The lock is ours: a node that holds it would keep others out.
  setsid unshare --net --mount --pid --fork --kill-child --mount-proc "$DEV/node.sh" > "$RUN/logs/node.log" 2>&1 < /dev/null 9>&- &
  pid=$!
  until started_at $pid > /dev/null; do sleep 0.01; done
  echo "$pid $(started_at $pid)" > "$SHORT/pid"
  fingerprint > "$RUN/fingerprint"
  wait_for 10 test -e "$SHORT/namespaces"
  init=$(pgrep -P $pid)
  echo "$init $(started_at "$init")" >> "$SHORT/pid"
  ip link add "$LINK" type veth peer name eth0 netns "$init"
  ip addr add "$HOST_IP/30" dev "$LINK"
  ip link set "$LINK" up
  nsenter -t "$init" -n sh -c "ip addr add $NODE_IP/30 dev eth0 && ip link set lo up && ip link set eth0 up && ip route add default via $HOST_IP"
  ip route add "$POD_CIDR" via "$NODE_IP"
  ip route add "$SERVICE_CIDR" via "$NODE_IP"
  touch "$SHORT/wired"
}

node_ready() {
  wait_for 60 kubectl get --raw /readyz
  wait_for 60 kubectl get node "$NODE"
  kubectl wait --for=condition=Ready "node/$NODE" --timeout=60s
}

add_ons() {
  local manifest
  fill "" < "$DEV/manifests/namespaces.yaml" | kubectl apply -f -
  kubectl -n "$MODELS_NAMESPACE" create secret tls models-tls --cert="$RUN/pki/models.crt" --key="$RUN/pki/models.key"
  for manifest in "$DEV"/manifests/*.yaml; do
    echo ---
    fill "" < "$manifest"
  done | kubectl apply -f -
  wait_for 60 test -s "$SHORT/gpu/features"
  # shellcheck disable=SC2046 # one label a word
  kubectl label node "$NODE" --overwrite $(cat "$SHORT/gpu/features")
  wait_for 60 "$DEV/gpus.sh" allocatable "$MOCK_GPUS"
  kubectl -n kube-system rollout status deployment/coredns --timeout=60s
  kubectl -n "$MODELS_NAMESPACE" rollout status deployment/models --timeout=60s
}

step "Make certificates and configuration" configure
step "Start the node's namespaces" start_node
step "Wait until the node is Ready" node_ready
step "Add CoreDNS, volumes, $MOCK_GPUS GPUs and a model server" add_ons
say "==> The cluster is up: export KUBECONFIG=$KUBECONFIG"
