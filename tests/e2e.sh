#!/usr/bin/env bash
# e2e.sh [FILTER [OPTION...]]: the end-to-end suite on the local cluster, which it
# brings up and, unless KEEP=1, takes down again. Options go to the suite's binary.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$ROOT"
dev=$ROOT/deploy/dev-cluster

trap '[ "${KEEP:-}" = 1 ] || "$dev/down.sh"' EXIT
"$dev/up.sh"
"$ROOT/deploy/images/build.sh"
step "Build the end-to-end suite" cargo build --locked --quiet --package hearth-tests

source "$dev/env.sh"
export HEARTH_E2E_CHART=$ROOT/charts/hearth
export HEARTH_E2E_VALUES=$RUN/values.yaml
export HEARTH_E2E_DEV_CLUSTER=$dev
export HEARTH_E2E_MODELS=$HEARTH_CACHE/models
export HEARTH_E2E_MODELS_AT=https://$MODELS_IP
export HEARTH_E2E_MODELS_CA=$RUN/pki/models-ca.crt
export HEARTH_E2E_MODEL_URI=https://$MODELS_HOST/SmolLM2-135M-Instruct.Q4_1.gguf
HEARTH_E2E_SET=$("$ROOT/deploy/images/tags.sh")
export HEARTH_E2E_SET

step "helm lint" helm lint "$HEARTH_E2E_CHART" --values "$HEARTH_E2E_VALUES" --strict
step "Values that the chart refuses" "$ROOT/tests/chart.sh"
# The API server itself judges what the chart renders.
rendered() {
  # The test hook names a ServiceAccount that a dry run does not make.
  helm template hearth "$HEARTH_E2E_CHART" --skip-tests --namespace hearth-system --values "$HEARTH_E2E_VALUES" --set "$HEARTH_E2E_SET" \
    --set networkPolicy.enabled=true --set serviceMonitor.enabled=true > "$RUN/rendered.yaml"
  kubectl create namespace hearth-system --dry-run=client -o yaml | kubectl apply -f -
  kubectl apply --dry-run=server --validate=strict -f "$RUN/rendered.yaml"
}
step "Definitions of the Prometheus operator's monitors" "$dev/monitoring/crds.sh"
step "Rendered manifests against the API server's schemas" rendered
show "End-to-end suite" "$CARGO_TARGET_DIR/debug/hearth-tests" "$@"
