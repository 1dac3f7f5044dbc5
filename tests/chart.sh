#!/usr/bin/env bash
# chart.sh: values that the chart must refuse before anything of them reaches the
# cluster, and what a changed certificate authority changes.
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/dev-cluster/env.sh"
chart=$ROOT/charts/hearth

render() { helm template hearth "$chart" --skip-tests --namespace hearth-system "$@"; }

# refuses WORD VALUE...: rendering fails, and says WORD.
refuses() {
  local word=$1 said
  shift
  if said=$(render "${@/#/--set=}" 2>&1); then die "the chart takes $*"; fi
  grep -q -- "$word" <<< "$said" || die "refused $* without a word of $word: $said"
}

render > "$RUN/default.yaml"
refuses hubEndpoint source.hubEndpoint=http://hub.example
refuses after release.after=
refuses after release.after=30
refuses extraCA source.extraCA.pem=text source.extraCA.secretName=mine
refuses extraCA source.extraCA.secretName=mine source.extraCA.configMapName=mine
refuses terminationGracePeriodSeconds worker.terminationGracePeriodSeconds=5
refuses compute worker.compute=Gpu
refuses typo worker.typo=1

# Pods read certificate authorities as they start: another text is another volume, so
# that both the controller and the workers it makes are replaced.
names() { render --set source.extraCA.pem="$1" | grep -o 'hearth-extra-ca-[0-9a-f]*' | sort -u; }
one=$(names one)
[ "$(wc -w <<< "$one")" = 1 ] || die "not one ConfigMap for one text: $one"
[ "$one" != "$(names two)" ] || die "another text has the same ConfigMap $one"
