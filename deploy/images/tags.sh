#!/usr/bin/env bash
# tags.sh: the tags of the images that build.sh made last, as `helm --set` takes them.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
operator=$(tag operator)
printf 'controller.image.tag=%s,gateway.image.tag=%s,worker.image.tag=%s\n' "$operator" "$operator" "$(tag worker)"
