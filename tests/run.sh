#!/usr/bin/env bash
# Everything that must hold at each change: `make test`. Stops at the first failure.
# Cheap checks come first; the cluster comes last.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"
start=$(now_ms)

"$ROOT/deploy/dev-cluster/setup.sh"
"$ROOT/deploy/dev-cluster/models.sh"
"$ROOT/deploy/dev-cluster/tokenizers.sh"
export HEARTH_TEST_MODEL=$HEARTH_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf
# Both folders before the first build: it may make every source file new.
"$ROOT/deploy/cargo-target.sh"
CARGO_TARGET_DIR=$HEARTH_CACHE/target-features "$ROOT/deploy/cargo-target.sh"

step "Format" cargo fmt --all --check
show "Shell scripts" tests/shell.sh
step "Fetch crates" cargo fetch --locked
step "Absences" tests/absences.sh
show "Unit and integration tests" cargo test --workspace --locked --quiet
step "Clippy" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
tests/deny.sh
tests/features.sh
step "Go parts of the local cluster" deploy/dev-cluster/check.sh
tests/e2e.sh "${FILTER:-}"

say "All of make test took $(seconds $(($(now_ms) - start)))"
