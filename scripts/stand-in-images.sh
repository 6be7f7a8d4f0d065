#!/usr/bin/env bash
# Give a Docker Engine (the one of DOCKER_HOST) the images that the Dockerfiles and deploy/docker-compose.yml begin
# with, where none can be pulled: one stand-in under all of their names, from Debian's packages and from .venv. It
# has the same programs, and no more than the tests need. It is kept in the folder $1, by default in ~/.cache.
# Needs: mmdebstrap, as root.
set -euo pipefail

cd "$(dirname "$0")/.."
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/moorage/images}
packages=ca-certificates,python3,python3-venv,python3-pip,haproxy,prometheus,redis-server,wget
# As the Dockerfiles and deploy/docker-compose.yml name them.
mapfile -t names < <({
  sed -n 's/^ARG PYTHON_IMAGE=//p' services/*/Dockerfile
  sed -nE 's/^ +image: ((redis|nats|haproxy):.+)$/\1/p' deploy/docker-compose.yml
} | sort -u)

make_root() {
  # With the machine's own package settings, so that a build inside reaches what the machine reaches.
  local hooks=(--customize-hook='ln -s python3 "$1/usr/bin/python"')
  local file
  for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [[ ! -e $file ]] || hooks+=(--customize-hook="copy-in $file $(dirname "$file")")
  done
  hooks+=(--customize-hook='copy-in .venv/bin/nats-server /usr/local/bin')
  # The user and the folder of Prometheus' own image.
  hooks+=(--customize-hook='install -d -o 65534 -g 65534 "$1/prometheus"')
  echo "making a stand-in of ${names[*]}" >&2
  mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io --include="$packages" "${hooks[@]}" bookworm "$1" - \
    < <(cat /etc/apt/sources.list.d/debian.sources 2>/dev/null || cat /etc/apt/sources.list)
}

mkdir -p "$cache"
# Another list of packages is another file, and of several who need it at once one makes it.
root=$cache/stand-in-$(sha256sum <<<"$packages" | head -c 12).tar
(
  flock 9
  if [[ ! -e $root ]]; then
    rm -f "$cache"/*.tar
    make_root "$root.new.tar"
    mv "$root.new.tar" "$root"
  fi
) 9>"$cache/lock"

bundle=/etc/ssl/certs/ca-certificates.crt
image=$(docker import \
  --change "ENV SSL_CERT_FILE=$bundle PIP_CERT=$bundle PIP_BREAK_SYSTEM_PACKAGES=1" \
  --change 'CMD ["python3"]' "$root")
for name in "${names[@]}"; do
  docker tag "$image" "$name"
done
# This one is named by its options alone.
name=$(sed -nE 's/^ +image: (prom\/prometheus:.+)$/\1/p' deploy/docker-compose.yml)
container=$(docker create "$image")
docker commit --change 'ENTRYPOINT ["prometheus"]' --change 'CMD []' --change 'USER 65534:65534' \
  --change 'WORKDIR /prometheus' "$container" "$name" >/dev/null
docker rm "$container" >/dev/null
