"""The configuration: distribution's `config.yml` and `REGISTRY_*` environment, read by typed models.

`load` reads a file (or the embedded default), `parse` a text; both return a frozen `Configuration` or raise a
`ConfigurationError` that names the key. Nothing here logs: see `Configuration.warnings`.
"""

from moorage.config.configuration import Configuration
from moorage.config.duration import parse_duration
from moorage.config.embedded import data_dir, embedded_default
from moorage.config.errors import ConfigurationError, Problem
from moorage.config.loader import load, parse
from moorage.config.services import is_unix, unix_path
from moorage.config.size import parse_size
from moorage.config.values import join_host_port, split_host_port

__all__ = [
    "Configuration",
    "ConfigurationError",
    "Problem",
    "data_dir",
    "embedded_default",
    "is_unix",
    "join_host_port",
    "load",
    "parse",
    "parse_duration",
    "parse_size",
    "split_host_port",
    "unix_path",
]
