#!/usr/bin/env bash
# build.sh OUT: the mock as a shared library. The header, and with it the list of
# functions that answer "not supported", comes from the Go module that the
# device plugin itself is built with.
set -euo pipefail
out=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
header=$(cd "$here/../deviceplugin" && go list -m -f '{{.Dir}}' github.com/NVIDIA/go-nvml)/pkg/nvml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gcc -O2 -Wall -Wextra -fPIC -fvisibility=default -I"$header" -c "$here/nvml.c" -o "$work/nvml.o"
nm -g --defined-only "$work/nvml.o" | awk '{print $3}' | sort > "$work/have"
grep -oE 'DECLDIR +nvml[A-Za-z0-9_]+\(' "$header/nvml.h" | grep -oE 'nvml[A-Za-z0-9_]+' | sort -u > "$work/want"
comm -13 "$work/have" "$work/want" | sed 's/.*/int &(void) { return 3; }/' > "$work/rest.c"
gcc -O2 -fPIC -c "$work/rest.c" -o "$work/rest.o"
gcc -shared -Wl,-soname,libnvidia-ml.so.1 -o "$out" "$work/nvml.o" "$work/rest.o"
