# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those who source it
# Sourced by the cluster's scripts: names, addresses and paths of
# the development cluster, and what it is made of.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

DEV=$ROOT/deploy/dev-cluster
KUBE_VERSION=1.36.3

# The GPUs that the mock shows.
MOCK_GPUS=${MOCK_GPUS:-2}
MOCK_NAME=${MOCK_NAME:-NVIDIA GeForce RTX 3060}
MOCK_MIB=${MOCK_MIB:-12288}
MOCK_COMPUTE=${MOCK_COMPUTE:-8.6}

# State that lives as long as the cluster does. Sockets need short paths, some
# paths are compiled into nvidia-runtime, and the machine has room for one cluster
# only, whatever HEARTH_CACHE says: that part lies under /run.
RUN=$HEARTH_CACHE/run/cluster
SHORT=/run/hearth-dev
NODE=homelab
LINK=hearth-dev
HOST_IP=10.245.0.1
NODE_IP=10.245.0.2
POD_CIDR=10.244.0.0/24
SERVICE_CIDR=10.96.0.0/16
DNS_IP=10.96.0.10
MODELS_NAMESPACE=hearth-demo
MODELS_HOST=models.$MODELS_NAMESPACE.svc
# For those who do not ask the cluster's DNS.
MODELS_IP=10.96.0.20

# What is built lies under a hash of what it is built from.
hashes() {
  local go
  go=$(go env GOVERSION)
  cd "$DEV"
  KUBE_BIN=$HEARTH_CACHE/kube/$(hash_of build.sh kube)-$go
  TOOLS_BIN=$HEARTH_CACHE/go-tools/$(hash_of build.sh tools)-$go
  GPU_BIN=$HEARTH_CACHE/gpu/$(hash_of build.sh deviceplugin nvml nvidia-runtime)-$go
  NODE_IMAGES=$HEARTH_CACHE/node-images/$(hash_of build.sh mkimage.sh tools deviceplugin modelserver pause)-$go
  cd - > /dev/null
}
hashes
export PATH=$KUBE_BIN:$TOOLS_BIN:$PATH
export KUBECONFIG=$RUN/kubeconfig

# Whether the process that holds the namespaces is the one that we started. The
# file has a line a process, PID and start time: first the holder, then process 1
# of the namespaces.
alive() {
  local pid started
  [ -e "$SHORT/pid" ] && read -r pid started < "$SHORT/pid" &&
    [ "$(started_at "$pid")" = "$started" ]
}
# A process's start time: a number that a later process of the same id has not.
started_at() { cut -d ' ' -f 22 "/proc/$1/stat" 2> /dev/null; }

# What the running cluster was made from; another value means: start it afresh.
fingerprint() {
  (
    cd "$DEV"
    hash_of env.sh up.sh node.sh certs.sh values.yaml config manifests
    echo "$KUBE_BIN $GPU_BIN $NODE_IMAGES"
    echo "$RUN $MOCK_GPUS $MOCK_NAME $MOCK_MIB $MOCK_COMPUTE"
  ) | sha256sum | cut -c1-16
}

# Up.sh and down.sh, one at a time. A folder can be locked as well as a file, and
# this one needs neither making nor clearing away.
lock() {
  exec 9< /run
  flock -w 900 9 || die "another up.sh or down.sh has been running for 15 minutes"
}

node_ctr() { ctr -a "$SHORT/containerd.sock" -n k8s.io "$@"; }
