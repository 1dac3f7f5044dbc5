#!/usr/bin/env bash
# build.sh [soak]: builds what the cluster is made of, once for each version of
# its sources. `soak` adds the tools of long tests: kwok and ghz.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

build_kube() {
  local out=$1 flags="-s -w" package component
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$KUBE_VERSION -X $package.gitMajor=1 -X $package.gitMinor=36"
    flags+=" -X $package.gitTreeState=archive -X $package.buildDate=2026-01-01T00:00:00Z"
  done
  CGO_ENABLED=0 go build -C "$DEV/kube" -trimpath -ldflags "$flags" -o "$out/kube" .
  for component in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl local-provisioner; do
    ln -s kube "$out/$component"
  done
}

build_tools() {
  local out=${!#}
  CGO_ENABLED=0 go build -C "$DEV/tools" -trimpath -ldflags '-s -w' -o "$out/" "${@:1:$#-1}"
}

build_gpu() {
  local out=$1 plugin=github.com/NVIDIA/k8s-device-plugin/cmd
  CGO_ENABLED=1 go build -C "$DEV/deviceplugin" -trimpath -ldflags '-s -w' -o "$out/" \
    $plugin/nvidia-device-plugin $plugin/gpu-feature-discovery
  CGO_ENABLED=0 go build -C "$DEV/nvidia-runtime" -trimpath -ldflags '-s -w' -o "$out/" .
  "$DEV/nvml/build.sh" "$out/libnvidia-ml.so.1"
}

# The images that the node starts with. Static binaries lie alone in theirs; the
# device plugin needs its C library, and gets the driver's from the runtime.
build_images() {
  local out=$1 root
  root=$(mktemp -d)
  mkdir "$root"/{pause,coredns,modelserver,gpu}
  gcc -Os -static -s -o "$root/pause/pause" "$DEV/pause/pause.c"
  "$DEV/mkimage.sh" "$out/pause.tar" localhost/pause:1 "$root/pause" /pause

  cp "$TOOLS_BIN/coredns" "$root/coredns/"
  "$DEV/mkimage.sh" "$out/coredns.tar" localhost/coredns:1 "$root/coredns" /coredns

  CGO_ENABLED=0 go build -C "$DEV/modelserver" -trimpath -ldflags '-s -w' -o "$root/modelserver/" .
  "$DEV/mkimage.sh" "$out/modelserver.tar" localhost/modelserver:1 "$root/modelserver" /modelserver

  mkdir -p "$root"/gpu/{usr/bin,lib64,lib/x86_64-linux-gnu,usr/lib/x86_64-linux-gnu,tmp}
  cp "$GPU_BIN"/{nvidia-device-plugin,gpu-feature-discovery} "$root/gpu/usr/bin/"
  ldd "$GPU_BIN"/{nvidia-device-plugin,gpu-feature-discovery} | grep -oE '/lib/[^ ]+\.so[^ ]*' | sort -u |
    xargs -I {} cp -L {} "$root/gpu/lib/x86_64-linux-gnu/"
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/gpu/lib64/"
  "$DEV/mkimage.sh" "$out/nvidia-device-plugin.tar" localhost/nvidia-device-plugin:1 "$root/gpu"
  rm -rf "$root"
}

ensure "$KUBE_BIN" "Build Kubernetes $KUBE_VERSION and etcd from Go modules (the first time: about 6 minutes)" build_kube
ensure "$TOOLS_BIN" "Build Helm, CoreDNS and grpcurl from Go modules (the first time: about 2 minutes)" \
  build_tools helm.sh/helm/v4/cmd/helm github.com/coredns/coredns github.com/fullstorydev/grpcurl/cmd/grpcurl
ensure "$GPU_BIN" "Build NVIDIA's device plugin and the mock driver (the first time: about 1 minute)" build_gpu
ensure "$NODE_IMAGES" "Pack the node's images" build_images
if [ "${1:-}" = soak ]; then
  ensure "$TOOLS_BIN-soak" "Build kwok and ghz from Go modules (the first time: about 1 minute)" \
    build_tools sigs.k8s.io/kwok/cmd/kwok github.com/bojand/ghz/cmd/ghz
fi
