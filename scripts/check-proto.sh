#!/usr/bin/env bash
# Fail when the generated code differs from what proto/ gives.
set -euo pipefail

cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate-proto.sh "$fresh"
if ! diff -r --exclude=__init__.py --exclude=__pycache__ "$fresh/moorage/v1" libs/moorage/src/moorage/v1; then
  echo "The generated protobuf code is not that of proto/: run 'make proto'." >&2
  exit 1
fi
