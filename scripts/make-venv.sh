#!/usr/bin/env bash
# Make the virtual environment $1 with uv in it, from $PYTHON or from a Python 3.11 or later that is there.
set -euo pipefail

venv=$1

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3}; do
    if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "Python 3.11 or later is needed, and ${PYTHON:-python3.11 or python3} is not that." >&2
  echo "On Debian 12: apt-get install python3 python3-venv. Another one: make PYTHON=/path/to/python3" >&2
  exit 1
}

python=$(find_python)
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian keeps what makes a virtual environment in a package of its own.
  version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  "$(dirname "$0")/apt-install.sh" "a virtual environment" "$version-venv"
fi
"$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.8"
