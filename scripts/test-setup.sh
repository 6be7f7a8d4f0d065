#!/usr/bin/env bash
# Install what the tests and the benchmark drive Moorage with, and nothing that is there already: real clients, the
# registry that Moorage replaces, what keeps its content (Ceph and Redis), and what it is deployed with. The tests
# start each of them themselves.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin

# Each command, and the Debian package that has it.
commands=(
  ceph:ceph-common
  ceph-mon:ceph-mon
  ceph-osd:ceph-osd
  curl:curl
  dnsmasq:dnsmasq-base
  docker:docker.io
  dockerd:docker.io
  docker-compose:docker-compose
  docker-registry:docker-registry
  ip:iproute2
  iptables:iptables
  mmdebstrap:mmdebstrap
  podman:podman
  promtool:prometheus
  radosgw:radosgw
  redis-server:redis-server
  skopeo:skopeo
  slirp4netns:slirp4netns
  wrk:wrk
)

missing=()
for entry in "${commands[@]}"; do
  command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
# A module of Python, and no command.
compgen -G "/usr/lib/python3/dist-packages/rados.*.so" >/dev/null || missing+=(python3-rados)

scripts=$(dirname "$0")
if [[ ${#missing[@]} -gt 0 ]]; then
  mapfile -t packages < <(printf '%s\n' "${missing[@]}" | sort -u)
  "$scripts/apt-install.sh" "the tests" "${packages[@]}"
fi
"$scripts/link-rados.sh" "$scripts/../.venv"
"$scripts/get-kubectl.sh" "$scripts/../.venv"
