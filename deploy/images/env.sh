# shellcheck shell=bash
# Sourced by the scripts of the images: where they lie and how they are tagged.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

IMAGES=$ROOT/deploy/images
BASE_DIR=$HEARTH_CACHE/base-image/$(cd "$ROOT/deploy" && hash_of images/base.sh images/base.packages dev-cluster/mkimage.sh)

# tag PART: changes with whatever is in the image, so that a Deployment that names
# it rolls exactly when it must.
tag() {
  # Helm would take a tag of digits only for a number.
  printf 'dev-'
  {
    sha256sum < "$CARGO_TARGET_DIR/debug/hearth-$1"
    sha256sum < "$IMAGES/$1/Containerfile"
    echo "${BASE:-$BASE_DIR}"
  } | sha256sum | cut -c1-16
}

archive() { echo "$HEARTH_CACHE/images/hearth-$1/$(tag "$1")/image.tar"; }
