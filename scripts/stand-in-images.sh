#!/usr/bin/env bash
# Give a Docker Engine (the one of DOCKER_HOST) the images that the Dockerfiles and deploy/docker-compose.yml begin
# with, where none can be pulled: stand-ins under the same names, from Debian's packages and from .venv. They have the
# same programs, and no more than the tests need. What takes long is kept in the folder $1, by default in ~/.cache.
# Needs: mmdebstrap, as root.
set -euo pipefail

cd "$(dirname "$0")/.."
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/moorage/images}
python=python:3.11-slim-bookworm
# As deploy/docker-compose.yml names them.
mapfile -t others < <(sed -nE 's/^ +image: ((redis|nats|haproxy):.+)$/\1/p' deploy/docker-compose.yml)
mkdir -p "$cache"

is_there() {
  docker image inspect "$1" >/dev/null 2>&1
}

make_python() {
  local root=$cache/python.tar
  if [[ ! -e $root ]]; then
    # With the machine's own package settings, so that a build inside reaches what the machine reaches.
    local hooks=(--customize-hook='ln -s python3 "$1/usr/bin/python"')
    local file
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
      [[ -e $file ]] && hooks+=(--customize-hook="copy-in $file $(dirname "$file")")
    done
    echo "making a stand-in of $python" >&2
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip "${hooks[@]}" \
      bookworm "$root.$$.tar" - < <(cat /etc/apt/sources.list.d/debian.sources 2>/dev/null || cat /etc/apt/sources.list)
    mv "$root.$$.tar" "$root"
  fi
  docker import --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_BREAK_SYSTEM_PACKAGES=1' \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' --change 'CMD ["python3"]' "$root" "$python" >/dev/null
}

make_others() {
  local saved=$cache/others.tar
  if [[ ! -e $saved ]]; then
    echo "making stand-ins of ${others[*]}" >&2
    local context
    context=$(mktemp -d)
    cp .venv/bin/nats-server "$context"
    docker build --quiet --tag moorage-stand-in:1 --file - "$context" >/dev/null <<END
FROM $python
RUN apt-get update && apt-get install -y --no-install-recommends haproxy redis-server wget && rm -rf /var/lib/apt/lists/*
COPY nats-server /usr/local/bin/
END
    rm -r "$context"
    docker save --output "$saved.$$" moorage-stand-in:1
    mv "$saved.$$" "$saved"
  fi
  docker load --quiet --input "$saved" >/dev/null
  local name
  for name in "${others[@]}"; do
    docker tag moorage-stand-in:1 "$name"
  done
}

is_there "$python" || make_python
for name in "${others[@]}"; do
  is_there "$name" || { make_others; break; }
done
