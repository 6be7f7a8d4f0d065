"""Which connections are taken: `http.limits.connections` and `http.limits.clientconnections`."""

from __future__ import annotations

from api_gateway.forwarded import Trust
from api_gateway.limitmemory import LimitMemory, client_of
from api_gateway.limits import refused
from api_gateway.refusal import RefusalError, last_answer, retry_after
from moorage.config.limits import Limits
from moorage.errors import ErrorCode, RegistryError

# Seconds after which one that was turned away may come again.
_AGAIN = [retry_after(5)]

_TOO_MANY = last_answer(
    RefusalError.wrap(RegistryError(ErrorCode.UNAVAILABLE, "too many connections"), _AGAIN)
)
_TOO_MANY_OF_ONE = last_answer(
    RefusalError.wrap(
        RegistryError(ErrorCode.TOOMANYREQUESTS, "too many connections from this address"), _AGAIN
    )
)


class TurnedAwayError(Exception):
    """There are too many connections. `answer` is what the client may be told, as it goes over the wire."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


class Admission:
    """Takes connections as long as there are not too many, in all workers together.

    The peers of `http.trustedproxies` bring the connections of many clients: they count among all, and have
    no limit of their own.
    """

    def __init__(self, limits: Limits, memory: LimitMemory, trusts: Trust) -> None:
        self._limits = limits
        self._memory = memory
        self._trusts = trusts

    def enter(self, address: object) -> str:
        """Count in a connection from this address, of `accept`. Gives what `leave` needs.

        Raises TurnedAwayError when it must not stay.
        """
        limits = self._limits
        peer = str(address[0]) if isinstance(address, tuple) else ""
        client = ""
        if limits.connections and self._memory.connections >= limits.connections:
            refused("connections", peer)
            raise TurnedAwayError(_TOO_MANY)
        if limits.clientconnections and peer and not self._trusts(peer):
            client = client_of(peer)
            if client and self._memory.connections_of(client) >= limits.clientconnections:
                refused("clientconnections", peer)
                raise TurnedAwayError(_TOO_MANY_OF_ONE)
        self._memory.count(client, 1)
        return client

    def leave(self, client: str) -> None:
        """Count a connection out."""
        self._memory.count(client, -1)
