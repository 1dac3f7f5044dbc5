#!/usr/bin/env bash
# Licences, bans and sources of every dependency.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"
version=0.20.2
tool=$HEARTH_CACHE/tools/cargo-deny-$version

# Unoptimised: it compiles in a quarter of the time and runs for a second.
build() {
  CARGO_TARGET_DIR=$1/target cargo install cargo-deny --version "$version" --locked --debug --no-track --root "$1"
  rm -rf "$1/target"
}
ensure "$tool" "Build cargo-deny $version" build
step "cargo deny" "$tool/bin/cargo-deny" --all-features check bans licenses sources
