#!/usr/bin/env bash
# Write deploy/.env with random secrets, readable by its owner alone. One that is there is left as it is.
set -euo pipefail

cd "$(dirname "$0")"
if [[ -e .env ]]; then
  echo "deploy/.env is there already" >&2
  exit
fi
random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}
umask 077
sed -e "s/^HTTP_SECRET=.*/HTTP_SECRET=$(random)/" \
  -e "s/^NATS_PASSWORD=.*/NATS_PASSWORD=n$(random)/" \
  -e "s/^REDIS_PASSWORD=.*/REDIS_PASSWORD=r$(random)/" \
  -e "s/^GRAFANA_PASSWORD=.*/GRAFANA_PASSWORD=g$(random)/" .env.example >.env.new
mv .env.new .env
echo "deploy/.env has new secrets" >&2
