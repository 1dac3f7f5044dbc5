#!/usr/bin/env bash
# load.sh NAME:TAG ARCHIVE: puts an image into the running cluster, unless it is
# there.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ -n "$(node_ctr images ls -q "name==$1")" ] || node_ctr images import "$2" > /dev/null
