#!/bin/sh
# Brings a Debian machine to where Slipway runs: Debian packages, Node 24 and the npm packages. Idempotent, and quick
# when nothing is missing. Sourced by run.sh with $mode: `run` needs root; `test` does without what root alone can do
# (those tests are then reported as skipped). Leaves Node 24 first in PATH.

node_version=24.21.0
npm_version=11.19.1
run_packages="crun conmon catatonit nats-server iproute2 nftables busybox-static golang-github-containers-common ca-certificates tar gzip bzip2 xz-utils zstd libisal2 util-linux curl git openssh-client"
test_packages="runc e2fsprogs debootstrap openssh-server procps skopeo podman buildah docker.io containerd docker-registry iptables radosgw ceph-mon ceph-osd btrfs-progs fuse-overlayfs rpm apparmor"

say() { printf '\033[2m[setup]\033[0m %s\n' "$*" >&2; }
die() {
  printf '\n[setup] %s\n' "$*" >&2
  exit 1
}

[ "$(uname -s)" = Linux ] || die "Slipway runs containers with the Linux kernel; this is $(uname -s). Use a Linux machine or a virtual one."

is_root() { [ "$(id -u)" = 0 ]; }
if [ "$mode" != test ] && ! is_root; then
  die "Slipway makes mounts, namespaces and network rules, which takes root. Run it again as root: sudo npm start"
fi

missing_packages() {
  for package in $1; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || printf '%s ' "$package"
  done
}

install_packages() {
  missing=$(missing_packages "$1")
  [ -n "$missing" ] || return 0
  if ! is_root; then
    say "not root, so these Debian packages stay missing: $missing"
    return 0
  fi
  command -v apt-get >/dev/null 2>&1 || die "These programs are missing and there is no apt-get to install them: ${missing}Install them by hand, then run this again."
  say "installing Debian packages: $missing"
  log=$(mktemp)
  # Lists may be absent or old; one refresh, then the install. No recommended extras, no questions, and no services: what
  # packages bring as a service is neither started now (policy-rc.d) nor at the next boot.
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] && policy= || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy; }
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log" $policy
    die "apt-get could not install: ${missing}See its last lines above; mend that and run this again."
  fi
  rm -f "$log" $policy
  for service in nats-server docker containerd docker-registry ssh; do
    case " $missing " in *" $service "* | *" $service.io "* | *" open$service-server "*) systemctl disable "$service" >/dev/null 2>&1 || true ;; esac
  done
}

node_major() { "$1" -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0; }

# Puts a package into .tools with the npm that is there.
install_tool() {
  say "installing $1 $2 into .tools ($3)"
  mkdir -p .tools
  (cd .tools && { [ -f package.json ] || echo '{"private":true}' >package.json; } &&
    npm install --no-audit --no-fund --ignore-scripts --loglevel=error "$1@$2" >&2) ||
    die "$1 $2 could not be installed through npm; see its lines above."
}

install_node() {
  command -v npm >/dev/null 2>&1 || die "npm is missing. Install it (apt-get install npm), then run this again."
  if [ "$(node_major node)" -ge 24 ]; then return 0; fi
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) die "There is no packaged Node 24 for $(uname -m). Install Node 24 by hand and put it first in PATH." ;;
  esac
  bin=$PWD/.tools/node_modules/node-linux-$arch/bin
  [ "$(node_major "$bin/node")" -ge 24 ] || install_tool "node-linux-$arch" "$node_version" "this machine's is $(node -v 2>/dev/null || echo missing)"
  node_path=$bin
}

install_modules() {
  wanted=$(sha256sum package-lock.json | cut -d' ' -f1)
  [ "$(cat node_modules/.slipway-lock 2>/dev/null || true)" = "$wanted" ] && return 0
  # Older ones read the lock file differently.
  if [ "$(npm -v | cut -d. -f1)" -lt 11 ]; then
    [ -f .tools/node_modules/npm/bin/npm-cli.js ] || install_tool npm "$npm_version" "this machine's is $(npm -v)"
    npm() { node "$PWD/.tools/node_modules/npm/bin/npm-cli.js" "$@"; }
  fi
  say "installing npm packages"
  npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2 || die "npm ci failed; see its lines above."
  echo "$wanted" >node_modules/.slipway-lock
}

node_path=
packages=$run_packages
[ "$mode" = run ] || packages="$run_packages $test_packages"
install_packages "$packages"
install_node
[ -z "$node_path" ] || PATH=$node_path:$PATH
export PATH
install_modules
# Only tests use it, and say so when it is missing.
[ "$mode" != test ] || ! is_root || sh infra/local/erofs-utils.sh >/dev/null 2>&1 || say "no newer fsck.erofs from Debian's mirrors: the test that uses it will say so"
