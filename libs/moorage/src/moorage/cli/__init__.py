"""The `moorage` command.

Exit status: 0 when all went well, 1 when something failed at run time (an address in use, a service that did
not start), 2 when the command line or the configuration is wrong. `config check` says 1 for a configuration
with errors.
"""

from moorage.cli.app import main
from moorage.cli.registry import registry

__all__ = ["main", "registry"]
