#!/usr/bin/env bash
# Long runs: `make soak`. MINUTES=10 sets how long each fuzz target runs.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"
minutes=${MINUTES:-10}

"$ROOT/deploy/dev-cluster/setup.sh"
"$ROOT/deploy/dev-cluster/models.sh"
"$ROOT/deploy/cargo-target.sh"
export HEARTH_TEST_MODEL=$HEARTH_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf

export PROPTEST_CASES=${PROPTEST_CASES:-100000}
show "Property tests, $PROPTEST_CASES cases each" \
  cargo test --locked --quiet --package hearth-model --package hearth-plan --package hearth-api --package hearth-source

version=0.13.2
tool=$HEARTH_CACHE/tools/cargo-fuzz-$version
build() {
  CARGO_TARGET_DIR=$1/target cargo install cargo-fuzz --version "$version" --locked --debug --no-track --root "$1"
  rm -rf "$1/target"
}
ensure "$tool" "Build cargo-fuzz $version" build
# libFuzzer's instrumentation is not on the stable channel.
export RUSTC_BOOTSTRAP=1 PATH=$tool/bin:$PATH CARGO_TARGET_DIR=$HEARTH_CACHE/fuzz-target
for target in $(cargo fuzz list --fuzz-dir tests/fuzz); do
  show "Fuzz $target for $minutes min" cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" -- -max_total_time=$((minutes * 60)) -rss_limit_mb=1024
done

for round in 1 2 3; do
  say "==> Faults, round $round"
  KEEP=1 "$ROOT/tests/e2e.sh" faults
done
"$ROOT/deploy/dev-cluster/down.sh"
