#!/bin/sh
# Puts a fsck.erofs that reads blocks of 512 bytes (1.7 or newer) into .tools/erofs-utils, out of Debian 13's packages, with the
# libraries that it needs: Debian 12 has 1.5. Tests of the layers' index use it. Installs nothing on the machine.
set -eu
release=trixie
packages="erofs-utils libc6 libgcc-s1 liblz4-1 liblzma5 libzstd1 zlib1g libuuid1 libselinux1 libpcre2-8-0 libdeflate0 libxxhash0 libfuse2t64"
place=$PWD/.tools/erofs-utils
[ ! -x "$place/fsck.erofs" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
cat >"$work/debian.sources" <<END
Types: deb
URIs: http://deb.debian.org/debian
Suites: $release
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
# Lists and archives of its own: the machine's sources and packages stay as they are.
apt() {
  apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$work/debian.sources" -o Dir::Etc::sourceparts=- \
    -o Dir::State="$work/state" -o Dir::Cache="$work/cache" "$@"
}
cd "$work"
apt update
for package in $packages; do apt download "$package/$release"; done
for archive in *.deb; do dpkg-deb -x "$archive" root; done

rm -rf "$place"
mkdir -p "$place"
cp -r root "$place/root"
loader=$(cd "$place" && ls root/usr/lib/*/ld-linux-*.so.* | head -n 1)
cat >"$place/fsck.erofs.new" <<END
#!/bin/sh
exec $place/$loader --library-path $place/$(dirname "$loader") $place/root/usr/bin/fsck.erofs "\$@"
END
chmod 755 "$place/fsck.erofs.new"
mv "$place/fsck.erofs.new" "$place/fsck.erofs" # Last, so that what is there is whole.
