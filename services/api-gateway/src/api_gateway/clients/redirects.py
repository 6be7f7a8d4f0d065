"""Where a client gets a blob from the storage backend itself."""

from __future__ import annotations

from api_gateway.clients.instances import BlobInstances
from moorage.rpc import unary
from moorage.v1 import blob_pb2


class Redirects:
    """Asks the blob service for URLs; `timeout` is a call's deadline in seconds.

    When it is not `enabled`, because no storage that is configured has any, there is nothing to ask.
    """

    def __init__(self, instances: BlobInstances, *, enabled: bool, timeout: float) -> None:
        self._instances = instances
        self._enabled = enabled
        self._timeout = timeout

    async def url(self, digest: str, method: str, client: str) -> str | None:
        """A URL for a GET or HEAD of a blob; None when the gateway is to serve it. Raises RegistryError.

        `client` is the client's IP address, empty if it is not known.
        """
        if not self._enabled:
            return None
        instance = await self._instances.for_key(digest)
        request = blob_pb2.RedirectRequest(digest=digest, method=method, client_address=client)
        return (await unary(instance.store.Redirect, request, timeout=self._timeout)).url or None
