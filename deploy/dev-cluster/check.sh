#!/usr/bin/env bash
# The cluster's own Go code: format, vet, tests.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT/deploy/dev-cluster"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || die "gofmt would change: $unformatted"
for module in modelserver nvidia-runtime; do
  (cd "$module" && go vet ./... && go test ./...)
done
