#!/usr/bin/env bash
# Install Debian packages, with the reason: scripts/apt-install.sh "what for" PACKAGE...
# Needs root, or sudo that asks nothing.
set -euo pipefail

reason=$1
shift

fail() {
  echo "${reason^} needs the Debian packages: $*" >&2
  echo "Install them as root: apt-get install --no-install-recommends $*" >&2
  exit 1
}

command -v apt-get >/dev/null || fail "$@"
as_root=()
if [[ $EUID -ne 0 ]]; then
  sudo -n true 2>/dev/null || fail "$@"
  as_root=(sudo -n)
fi

# Debian starts the servers that it installs (a registry on port 5000, a Docker Engine). The tests start their
# own, so nothing may start meanwhile. An operator's own policy stays.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

echo "Installing for $reason: $*" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null
