#!/usr/bin/env bash
# Checks what the machine must bring, and installs the Debian packages that are
# missing. Costs a fraction of a second when nothing is.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$ROOT/deploy/dev-cluster

[ "$(id -u)" = 0 ] || die "the development cluster needs root: it makes network namespaces and mounts"
command -v apt-get > /dev/null || die "the development cluster is made from Debian packages; use CLUSTER=current with a cluster of your own"
[ "$(dpkg --print-architecture)" = amd64 ] || die "only amd64 is supported by the development cluster"

# at_least WANTED HAVE: whether HAVE is that version or a later one.
at_least() { printf '%s\n' "$1" "$2" | sort -VC; }
rust=$(rustc --version 2> /dev/null | awk '{print $2}') || die "rustc is missing: install Rust 1.95 or later (https://rustup.rs)"
at_least 1.95 "$rust" || die "Rust is $rust, 1.95 or later is needed"
go=$(go env GOVERSION 2> /dev/null) || die "go is missing: install Go 1.26 or later (https://go.dev/dl)"
at_least 1.26 "${go#go}" || die "Go is ${go#go}, 1.26 or later is needed"

mapfile -t wanted < <(grep -v '^#' "$here/packages.txt")
mapfile -t missing < <(
  comm -23 <(printf '%s\n' "${wanted[@]}" | sort) \
    <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2> /dev/null | awk '$2 == "installed" {print $1}' | sort)
)
if [ "${#missing[@]}" -gt 0 ]; then
  install() {
    export DEBIAN_FRONTEND=noninteractive
    # One list that cannot be had (a third party's) need not matter.
    apt-get update || true
    apt-get install -y --no-install-recommends "${missing[@]}"
  }
  step "Install Debian packages: ${missing[*]}" install
fi
