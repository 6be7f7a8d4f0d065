#!/usr/bin/env bash
# Write what docker-compose.yml needs and no two registries share: deploy/.env with random secrets, readable by its
# owner alone, and deploy/secrets with an account `admin`, whose password is printed. What is there is left as it is.
set -euo pipefail

cd "$(dirname "$0")"
umask 077

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

if [[ -e .env ]]; then
  echo "deploy/.env is there already" >&2
else
  sed -e "s/^HTTP_SECRET=.*/HTTP_SECRET=$(random)/" \
    -e "s/^NATS_PASSWORD=.*/NATS_PASSWORD=n$(random)/" \
    -e "s/^REDIS_PASSWORD=.*/REDIS_PASSWORD=r$(random)/" \
    -e "s/^GRAFANA_PASSWORD=.*/GRAFANA_PASSWORD=g$(random)/" .env.example >.env.new
  mv .env.new .env
  echo "deploy/.env has new secrets" >&2
fi

if [[ -e secrets/accounts/htpasswd ]]; then
  echo "deploy/secrets/accounts/htpasswd is there already" >&2
else
  password=$(random)
  ./set-password.sh admin <<<"$password"
  echo "user: admin"
  echo "password: $password"
fi
