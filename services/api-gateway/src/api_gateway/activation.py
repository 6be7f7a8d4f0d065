"""A listening socket that systemd has opened (socket activation), in place of `http.addr` and `http.net`.

Source: sd_listen_fds(3): LISTEN_PID says for which process they are, LISTEN_FDS how many, from descriptor 3
on. distribution takes exactly one, too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

_FIRST = 3


def activated(environ: MutableMapping[str, str] = os.environ) -> socket.socket | None:
    """The socket that was handed to this process; None when there is none.

    The variables are taken away, so that no child takes them for its own. Raises OSError when there are
    several, or what there is does not listen.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    if count == "0":
        return None
    if count != "1":
        raise OSError(f"socket activation: exactly one socket is taken, not {count or 'none'}")
    try:
        listener = socket.socket(fileno=_FIRST)
    except OSError as error:
        raise OSError(f"socket activation: descriptor {_FIRST}: {error.strerror}") from error
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise OSError(f"socket activation: descriptor {_FIRST} is not a listening stream socket")
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener
