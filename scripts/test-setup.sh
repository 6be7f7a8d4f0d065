#!/usr/bin/env bash
# Install what the end-to-end tests and the benchmark drive Moorage with, and nothing that is there already: real
# clients, and the registry that Moorage replaces. The tests start the Docker Engine and docker-registry themselves.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin

# Each command, and the Debian package that has it.
commands=(
  curl:curl
  docker:docker.io
  dockerd:docker.io
  docker-registry:docker-registry
  iptables:iptables
  podman:podman
  redis-server:redis-server
  skopeo:skopeo
  wrk:wrk
)

missing=()
for entry in "${commands[@]}"; do
  command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

mapfile -t packages < <(printf '%s\n' "${missing[@]}" | sort -u)
"$(dirname "$0")/apt-install.sh" "the end-to-end tests" "${packages[@]}"
