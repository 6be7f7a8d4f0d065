#!/usr/bin/env bash
# Generate the Python code of proto/ into the folder $1, where it becomes the package moorage.v1.
set -euo pipefail

cd "$(dirname "$0")/.."
out=$1
# protoc finds its plug-ins (protoc-gen-mypy) on PATH.
PATH=$PWD/.venv/bin:$PATH .venv/bin/python -m grpc_tools.protoc -Iproto \
  --python_out="$out" --mypy_out="quiet:$out" --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" \
  proto/moorage/v1/*.proto
