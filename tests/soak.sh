#!/usr/bin/env bash
# Long runs: `make soak`. soak.sh [PART...] runs only these: properties, fuzz, load,
# faults, scale.
#   PROPTEST_CASES=100000   cases of each property
#   FUZZ_SECONDS=600        how long each fuzz target runs
#   LOAD_SECONDS=600        how long callers ask the engine
#   FAULT_ROUNDS=3          how often parts of a serving installation are killed
#   NODES=50 MODELS=200     the size of the scale run
# Stops at the first part that fails.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"
start=$(now_ms)
parts=("$@")
[ $# != 0 ] || parts=(properties fuzz load faults scale)
export PROPTEST_CASES=${PROPTEST_CASES:-100000}
seconds=${FUZZ_SECONDS:-600}
rounds=${FAULT_ROUNDS:-3}
load_seconds=${LOAD_SECONDS:-600}

# The crates whose properties have so much to choose from that more cases find more.
# A case of the others starts an engine or a server.
properties() {
  cargo test --locked --quiet --package hearth-model --package hearth-plan --package hearth-api --package hearth-source
  cargo test --locked --quiet --package hearth-operator --lib -- panic
  cargo test --locked --quiet --package hearth-worker --lib -- fleet
}

cargo_fuzz=0.13.2
build_cargo_fuzz() {
  CARGO_TARGET_DIR=$1/target cargo install cargo-fuzz --version "$cargo_fuzz" --locked --debug --no-track --root "$1"
  rm -rf "$1/target"
}

# A target's corpus is kept, so that each run goes on where the last one ended; an
# input that fails is kept in tests/fuzz/artifacts.
fuzz() {
  local target tool=$HEARTH_CACHE/tools/cargo-fuzz-$cargo_fuzz corpora
  ensure "$tool" "Build cargo-fuzz $cargo_fuzz" build_cargo_fuzz
  export PATH=$tool/bin:$PATH CARGO_TARGET_DIR=$HEARTH_CACHE/fuzz-target
  # libFuzzer's instrumentation is not on the stable channel.
  export RUSTC_BOOTSTRAP=1
  step "Build the fuzz targets" cargo fuzz build --fuzz-dir tests/fuzz --sanitizer none
  for target in $(cargo fuzz list --fuzz-dir tests/fuzz); do
    # What is found goes to the first; the seeds come with the sources.
    corpora=("$HEARTH_CACHE/fuzz-corpus/$target")
    mkdir -p "${corpora[0]}"
    [ ! -d "tests/fuzz/seeds/$target" ] || corpora+=("tests/fuzz/seeds/$target")
    show "Fuzz $target for $seconds s" cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" "${corpora[@]}" -- \
      -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 -verbosity=0
  done
}

# 64 callers on the CPU engine. What else runs on the machine shows in how long they wait.
load() {
  HEARTH_LOAD_SECONDS=$load_seconds cargo test --locked --package hearth-engine --test load -- --ignored --nocapture
}

faults() {
  local round
  for ((round = 1; round <= rounds; round++)); do
    say "==> Faults, round $round of $rounds"
    KEEP=1 "$ROOT/tests/e2e.sh" faults
  done
  "$ROOT/deploy/dev-cluster/down.sh"
}

"$ROOT/deploy/dev-cluster/setup.sh"
"$ROOT/deploy/dev-cluster/models.sh"
"$ROOT/deploy/cargo-target.sh"
export HEARTH_TEST_MODEL=$HEARTH_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf
for part in "${parts[@]}"; do
  case $part in
    properties) show "Properties, $PROPTEST_CASES cases each" properties ;;
    fuzz) show "Fuzzing, $seconds s a target" fuzz ;;
    load) show "64 callers for $load_seconds s" load ;;
    faults) show "Faults, $rounds rounds" faults ;;
    scale) show "Scale, ${NODES:-50} machines and ${MODELS:-200} models" "$ROOT/tests/scale.sh" ;;
    *) die "no part $part: there are properties, fuzz, load, faults and scale" ;;
  esac
done
say "The soak run (${parts[*]}) took $(seconds $(($(now_ms) - start)))"
