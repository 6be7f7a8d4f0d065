#!/usr/bin/env bash
# Let the virtual environment $1 import Debian's Python binding of librados, which no package index has.
# With --if-installed it is content when the Debian package python3-rados is not there.
set -euo pipefail

venv=$1
python=$venv/bin/python

"$python" -c 'import rados' 2>/dev/null && exit 0

# A compiled module fits one version of Python; its name says which.
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
folder=/usr/lib/python3/dist-packages
if [[ ! -e $folder/rados$suffix ]]; then
  shopt -s nullglob
  there=("$folder"/rados.*.so)
  if [[ ${#there[@]} -gt 0 ]]; then
    echo "python3-rados is built for another Python: there is ${there[*]##*/}, and $venv needs rados$suffix." >&2
    echo "Make $venv from Debian's own Python: rm -r $venv && make PYTHON=/usr/bin/python3 setup" >&2
  elif [[ ${2:-} == --if-installed ]]; then
    exit 0
  else
    echo "The RADOS driver needs librados: apt-get install --no-install-recommends python3-rados" >&2
  fi
  [[ ${2:-} == --if-installed ]] && exit 0
  exit 1
fi
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
ln -sf "$folder/rados$suffix" "$site/"
"$python" -c 'import rados'
