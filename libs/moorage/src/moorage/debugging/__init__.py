"""The debug listener: health, metrics, variables and profiles of a service, on an address of their own.

Every service has the same one, off by default: the gateway at `http.debug.addr`, the services behind it at
`services.<name>.debugaddr`. It asks nobody who they are, so it belongs on the loopback interface or a private
network, and no answer holds a secret.

Source: distribution's debug server, which is Go's expvar and net/http/pprof.
"""

from moorage.debugging.health import Health, ServiceHealth, SwitchableHealth
from moorage.debugging.inspectors import Inspector, of_one_process, of_workers
from moorage.debugging.listener import debug_server
from moorage.debugging.pages import Exposition, Pages, of_this_process

__all__ = [
    "Exposition",
    "Health",
    "Inspector",
    "Pages",
    "ServiceHealth",
    "SwitchableHealth",
    "debug_server",
    "of_one_process",
    "of_this_process",
    "of_workers",
]
