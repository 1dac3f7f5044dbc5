#!/usr/bin/env bash
# Prints what a shell needs to use the development cluster.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
printf 'export KUBECONFIG=%q\n' "$KUBECONFIG"
# shellcheck disable=SC2016 # the shell that reads this expands it
printf 'export PATH=%q:%q:"$PATH"\n' "$KUBE_BIN" "$TOOLS_BIN"
