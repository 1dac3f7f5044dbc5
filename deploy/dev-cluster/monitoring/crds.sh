#!/usr/bin/env bash
# crds.sh: teaches the cluster the Prometheus operator's ServiceMonitor and PodMonitor,
# so that the API server judges what the chart renders of them. Nothing acts on them.
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
go -C "$DEV/monitoring" mod download
from=$(go -C "$DEV/monitoring" list -m -f '{{.Dir}}' github.com/prometheus-operator/prometheus-operator)/example/prometheus-operator-crd
for kind in servicemonitors podmonitors; do
  kubectl apply --server-side -f "$from/monitoring.coreos.com_$kind.yaml"
done
kubectl wait --for=condition=Established --timeout=30s \
  crd/servicemonitors.monitoring.coreos.com crd/podmonitors.monitoring.coreos.com
