"""The configuration: distribution's `config.yml` and `REGISTRY_*` environment, read by typed models."""

from moorage.config.configuration import Configuration
from moorage.config.errors import ConfigurationError, Problem
from moorage.config.services import is_unix, unix_path

__all__ = ["Configuration", "ConfigurationError", "Problem", "is_unix", "unix_path"]
