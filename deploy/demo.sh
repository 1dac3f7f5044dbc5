#!/usr/bin/env bash
# demo.sh: from nothing to a model that answers. CLUSTER=current uses the cluster
# of the kubeconfig in force instead of making one; there, REGISTRY=HOST/PATH
# builds the images and pushes them, VALUES=FILE gives the chart's values (such as
# cpuNodes, and images that are there already), MODEL=FILE another manifest of a
# ServedModel default/smollm2.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
start=$(now_ms)
cd "$ROOT"
dev=$ROOT/deploy/dev-cluster
model_name=smollm2
question='Name three things that make a house a home.'

# --- a cluster, and images in it
helm_args=()
case ${CLUSTER:-} in
  "")
    "$dev/up.sh"
    # shellcheck source=dev-cluster/env.sh
    source "$dev/env.sh"
    "$ROOT/deploy/images/build.sh"
    helm_args+=(--values "$RUN/values.yaml" --set "$("$ROOT/deploy/images/tags.sh")")
    manifest=${MODEL:-deploy/examples/smollm2.yaml}
    ;;
  current)
    for tool in kubectl helm curl jq; do
      command -v "$tool" > /dev/null || die "$tool is not in PATH"
    done
    [ -n "${REGISTRY:-}${VALUES:-}" ] ||
      die "no images are published yet: set REGISTRY=HOST/PATH to build and push them, or VALUES=FILE that names some"
    manifest=${MODEL:-deploy/examples/smollm2-hub.yaml}
    if [ -n "${REGISTRY:-}" ]; then
      for tool in cargo buildah strip; do
        command -v "$tool" > /dev/null || die "$tool is not in PATH: building images needs it"
      done
      BASE=${BASE:-gcr.io/distroless/cc-debian12:nonroot}
      export BASE
      "$ROOT/deploy/images/build.sh"
      "$ROOT/deploy/images/push.sh" "$REGISTRY"
      helm_args+=(--set "$("$ROOT/deploy/images/tags.sh")")
      helm_args+=(--set "controller.image.repository=$REGISTRY/hearth-operator,gateway.image.repository=$REGISTRY/hearth-operator")
      helm_args+=(--set "worker.image.repository=$REGISTRY/hearth-worker")
    fi
    [ -z "${VALUES:-}" ] || helm_args+=(--values "$VALUES")
    ;;
  *) die "CLUSTER is '$CLUSTER': leave it out for the local cluster, or say 'current'" ;;
esac

# --- the chart
explain_failure() {
  say "--- what the cluster says:"
  {
    kubectl get sm,workers -A
    kubectl -n default describe sm "$model_name"
    kubectl -n hearth-system get pods -o wide
    kubectl -n hearth-system get events --sort-by=.lastTimestamp | tail -n 20
    kubectl -n hearth-system logs deployment/hearth-controller --tail=20
  } >&2 || true
}
trap '[ $? = 0 ] || explain_failure' EXIT

step "helm upgrade --install hearth charts/hearth" \
  helm upgrade --install hearth charts/hearth --namespace hearth-system --create-namespace "${helm_args[@]}" --wait --timeout 5m

# --- a model
wait_ready() {
  local watch
  kubectl apply -f "$manifest" >&2
  kubectl -n default get sm "$model_name" --watch >&2 &
  watch=$!
  # A Ready condition of an older spec does not count.
  if ! kubectl -n default wait --for=condition=Ready "sm/$model_name" --timeout=15m > /dev/null; then
    kill "$watch" || true
    return 1
  fi
  kill "$watch" || true
  wait "$watch" 2> /dev/null || true
}
show "kubectl apply -f $manifest, and wait until it is Ready" wait_ready
say
kubectl get sm,workers -A >&2

# --- answers
forwards=()
if [ "${CLUSTER:-}" = current ]; then
  forward() {
    kubectl -n hearth-system port-forward svc/hearth-gateway 19000:9000 18080:8080 > /dev/null &
    forwards+=($!)
    for _ in {1..100}; do
      curl -sf -o /dev/null http://127.0.0.1:18080/readyz && return
      sleep 0.1
    done
    die "the gateway does not answer through kubectl port-forward"
  }
  forward
  trap 'status=$?; kill "${forwards[@]}" 2> /dev/null; [ $status = 0 ] || explain_failure' EXIT
  grpc=127.0.0.1:19000 http=127.0.0.1:18080
else
  address=$(kubectl -n hearth-system get service hearth-gateway -o jsonpath='{.spec.clusterIP}')
  grpc=$address:9000 http=$address:8080
fi

# typed FILTER: the text that the filter finds in a stream of JSON, as it comes.
typed() {
  printf '    ' >&2
  jq --unbuffered --raw-output --join-output "$1" >&2
  printf '\n' >&2
}

grpc_answer() {
  grpcurl -plaintext -max-time 300 -d "$(jq -n --arg model "$model_name" --arg question "$question" \
    '{model: $model, chat: {messages: [{role: "user", content: $question}]}, sampling: {temperature: 0}, stop: {maxTokens: 64}}')" \
    "$grpc" hearth.inference.v1.InferenceService/Generate |
    typed '.delta.text // (if .finish then "\n    [\(.finish.usage.completionTokens) tokens]" else empty end)'
}
http_answer() {
  curl --silent --show-error --fail-with-body --no-buffer --max-time 300 "http://$http/v1/chat/completions" \
    --header 'content-type: application/json' \
    --data "$(jq -n --arg model "$model_name" --arg question "$question" \
      '{model: $model, messages: [{role: "user", content: $question}], temperature: 0, max_tokens: 64, stream: true}')" |
    sed --unbuffered -n 's/^data: {/{/p' | typed '.choices[0].delta.content // empty'
}

say
say "\"$question\""
if command -v grpcurl > /dev/null; then
  show "gRPC: hearth.inference.v1.InferenceService/Generate on $grpc" grpc_answer
else
  say "==> gRPC: skipped, grpcurl is not in PATH"
fi
show "OpenAI API: curl http://$http/v1/chat/completions" http_answer

say
say "All of it took $(seconds $(($(now_ms) - start))). Three commands to try next:"
if [ "${CLUSTER:-}" = current ]; then
  say "  kubectl describe sm $model_name"
  say "  kubectl -n hearth-system port-forward svc/hearth-gateway 9000 8080"
  say "  kubectl delete -f $manifest && helm -n hearth-system uninstall hearth"
else
  say "  eval \"\$(make -s env)\"; kubectl describe sm $model_name"
  say "  curl http://$http/v1/completions -d '{\"model\": \"$model_name\", \"prompt\": \"The capital of France is\", \"max_tokens\": 8}'"
  say "  make cluster-down"
fi
