#!/usr/bin/env bash
# base.sh OUT.tar NAME:TAG: a base image out of the Debian packages in
# base.packages, unpacked without running their scripts. It has the same C
# library as the machine that compiles, and takes seconds where a bootstrap of a
# whole system takes a minute and fifty times the space. For production take a
# published base, such as distroless/cc, by build argument.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
out=$1 reference=$2
here=$ROOT/deploy/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

# Today's Debian keeps everything below /usr; its packages do not yet.
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$work/packages"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done

mapfile -t packages < <(grep -v '^#' "$here/base.packages")
download() { (cd "$work/packages" && apt-get -o APT::Sandbox::User=root download "${packages[@]}"); }
# The lists may be old, or cleared away as they are in many images.
download || { apt-get update && download; }
for package in "$work"/packages/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$root"
done

cat "$root"/usr/share/ca-certificates/mozilla/*.crt > "$root/etc/ssl/certs/ca-certificates.crt"
cat > "$root/etc/passwd" << 'FILE'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh
FILE
cat > "$root/etc/group" << 'FILE'
root:x:0:
nogroup:x:65534:
nonroot:x:65532:
FILE
install -d -o 65532 -g 65532 -m 700 "$root/home/nonroot"
install -d -m 1777 "$root/tmp"
for applet in $("$root/bin/busybox" --list); do
  [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
rm -rf "$root"/usr/share/{doc,man,lintian,locale,bug}

"$ROOT/deploy/dev-cluster/mkimage.sh" "$out" "$reference" "$root"
