#!/usr/bin/env bash
# What must not be in a crate's dependencies, so that its design stays what
# ARCHITECTURE.md says.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"

# absent CRATE DEPENDENCY...
absent() {
  local crate=$1 tree
  shift
  tree=$(cargo tree --locked --offline --package "$crate" --edges normal --prefix none --format '{p}' | cut -d ' ' -f 1 | sort -u)
  # A crate that the command does not know must not pass for one without dependencies.
  grep -qx "$crate" <<< "$tree" || die "cargo tree does not list $crate"
  for dependency in "$@"; do
    ! grep -qx "$dependency" <<< "$tree" || die "$crate depends on $dependency"
  done
}

absent hearth-model burn tokio kube tonic
absent hearth-program burn tokio kube tonic rayon
absent hearth-kernels burn tokio kube tonic rayon hearth-program
absent hearth-cpu burn tokio kube tonic rayon
absent hearth-plan burn tokio kube tonic
absent hearth-sample burn tokio kube tonic
absent hearth-reference tokio kube tonic
absent hearth-text burn tokio kube tonic hearth-program
absent hearth-engine tokio kube tonic
absent hearth-worker kube k8s-openapi
absent hearth-api kube-client kube-runtime tokio
absent hearth-operator burn
