#!/usr/bin/env bash
# quality.sh [TYPE...]: how far our logits and llama.cpp's are from f32 arithmetic
# on the same file's dequantized weights, for every type of weights: a line each,
# `ok` where ours are no farther. Both models' own files come first. Other types
# are made from the test model, made wider by pad.py so that it has whole blocks.
# MODELS=0 leaves the two models out.
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
here=$ROOT/tests/bench
bench=$HEARTH_CACHE/bench
types=("$@")
[ "$#" -gt 0 ] || types=(F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS)

"$here/models.sh"
llama=$("$here/llama.sh")
"$ROOT/deploy/cargo-target.sh"
show "Compile the comparison" cargo build --locked --quiet --manifest-path "$ROOT/Cargo.toml" -p hearth-bench

driver() {
  clang++-19 -O2 -std=c++17 -I"$llama/include" "$here/logits.cpp" -o "$1/logits" \
    -Wl,--start-group "$llama"/lib/*.a -Wl,--end-group -fopenmp -pthread
}
venv() {
  mkdir -p "$1"
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install --quiet gguf==0.19.0 numpy==2.4.6
}
wide() {
  "$venv/venv/bin/python" "$here/pad.py" "$HEARTH_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf" "$1/model.gguf"
}
quantized() {
  "$llama/bin/llama-quantize" --pure "$wide/model.gguf" "$2/model.gguf" "$1" "$(nproc)"
}

logits=$bench/logits/$(basename "$llama")-$(sha256sum < "$here/logits.cpp" | cut -c1-12)
ensure "$logits" "Build the program that writes llama.cpp's logits" driver
venv=$bench/venv/gguf-0.19.0
wide=$bench/wide/$(sha256sum < "$here/pad.py" | cut -c1-12)
files=()
[ "${MODELS:-1}" = 0 ] || files+=("SmolLM2-135M-Q4_1=$HEARTH_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf" \
  "Gemma-3-270M-Q4_K_M=$HEARTH_CACHE/models/gemma-3-270m-q4_k_m.gguf")
for type in "${types[@]}"; do
  made=$bench/quantized/$(basename "$wide")-$type
  if [ ! -d "$made" ]; then
    # A venv holds its own path: it is made where it stays.
    [ -x "$venv/venv/bin/python" ] || step "Make a Python environment" venv "$venv"
    ensure "$wide" "Make the test model wider" wide
  fi
  ensure "$made" "Quantize to $type" quantized "$type"
  files+=("$type=$made/model.gguf")
done
mkdir -p "$bench/results"
report=$bench/results/quality-$(date -u +%Y%m%dT%H%M%SZ).json
PYTHONDONTWRITEBYTECODE=1 python3 "$here/quality.py" --program "$CARGO_TARGET_DIR/debug/hearth-bench-quality" \
  --logits "$logits/logits" --text "$here/text.txt" --json "$report" "${files[@]}"
say "All that was measured: $report"
