#!/bin/sh
# Makes a Debian 12 root filesystem with debootstrap (root; about a minute). Does nothing when the file is there.
# usage: debian-base.sh ROOTFS.tar.gz [MIRROR]
set -eu
out=$1
mirror=${2:-}
[ ! -s "$out" ] || exit 0
mkdir -p "$(dirname "$out")"
# Who comes meanwhile waits for it.
exec 9<"$(dirname "$out")"
flock 9
[ ! -s "$out" ] || exit 0
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root" "$out.part"' EXIT
chmod 755 "$root"
debootstrap --variant=minbase bookworm "$root" $mirror >&2
# What a base image does not need: downloaded packages and lists (apt-get update makes them), this machine's name.
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root/etc/hostname" "$root/etc/resolv.conf"
tar --sort=name --numeric-owner --xattrs --xattrs-include='*' --one-file-system -C "$root" -cf - . | gzip -n >"$out.part"
mv "$out.part" "$out"
