"""The configuration that a registry has when nobody gave it one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import yaml

from moorage.config.errors import ConfigurationError

_DEFAULT = """\
version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: {rootdirectory}
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
http:
  addr: 127.0.0.1:5000
notifications:
  allowprivate: true
validation:
  manifests:
    urls:
      allow: ['^https://']
health:
  storagedriver:
    enabled: true
"""


def embedded_default(data_dir: Path) -> str:
    """The YAML text of the default: a registry on this host alone, with its data in `data_dir`/registry."""
    # Quoted and escaped by YAML's own rules: a folder's name may hold any character.
    quoted = yaml.safe_dump(str(data_dir / "registry"), default_style='"', width=math.inf).strip()
    return _DEFAULT.format(rootdirectory=quoted)


def data_dir(environ: Mapping[str, str]) -> Path:
    """Where Moorage keeps data: `$MOORAGE_DATA_DIR`, or `moorage` in `$XDG_DATA_HOME` or `~/.local/share`.

    Raises ConfigurationError when there is no home folder. Source: XDG Base Directory Specification.
    """
    named = environ.get("MOORAGE_DATA_DIR", "")
    if named:
        return Path(named).absolute()
    configured = environ.get("XDG_DATA_HOME", "")
    if configured.startswith("/"):  # the specification wants a relative one ignored
        return Path(configured) / "moorage"
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home) / ".local/share/moorage"
    try:
        return Path.home() / ".local/share/moorage"
    except RuntimeError as error:
        raise ConfigurationError(
            "storage.filesystem.rootdirectory", "no home folder to keep data in: set MOORAGE_DATA_DIR"
        ) from error
