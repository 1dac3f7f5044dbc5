#!/usr/bin/env bash
# engine.sh [ARGUMENT...]: builds what is measured, and measures our engine beside
# llama.cpp. Arguments go to engine.py; --help lists them. Results are kept in
# $HEARTH_CACHE/bench/results.
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
here=$ROOT/tests/bench

"$here/models.sh"
llama=$("$here/llama.sh")
"$ROOT/deploy/cargo-target.sh"
show "Compile the worker" cargo build --locked --quiet --manifest-path "$ROOT/Cargo.toml" -p hearth-worker -p hearth-bench
results=$HEARTH_CACHE/bench/results
mkdir -p "$results"
report=$results/engine-$(date -u +%Y%m%dT%H%M%SZ).json
PYTHONDONTWRITEBYTECODE=1 python3 "$here/engine.py" --llama "$llama" --models "$HEARTH_CACHE/models" \
  --worker "$CARGO_TARGET_DIR/debug/hearth-worker" --machine "$CARGO_TARGET_DIR/debug/hearth-bench-machine" \
  --json "$report" "$@"
say "All that was measured: $report"
