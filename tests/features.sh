#!/usr/bin/env bash
# The worker compiles with each feature that brings a device, and with all of
# them. Compiles only: none of the devices is here.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"

# A folder of its own: what is compiled for these features is of no use to any
# other build. About 2 GiB.
export CARGO_TARGET_DIR=$HEARTH_CACHE/target-features
# cudarc declares the driver's functions of one CUDA version. It asks nvcc for it,
# which must not make a difference. Nothing of CUDA is linked: it is opened when
# the worker runs.
export CUDARC_CUDA_VERSION=13000
"$ROOT/deploy/cargo-target.sh"

check() {
  step "The worker with $1" cargo check --locked --quiet --package hearth-worker --features "$1"
}

# All of them first: where one breaks another, this names it. The crates below
# burn are compiled for it and shared by the others; burn's own are compiled for
# each.
check cuda,vulkan,metal
check cuda
check vulkan
check metal
