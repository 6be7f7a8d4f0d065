"""`redirect`: another web server has the storage's tree, and clients fetch blobs there."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from blob_service.drivers.interface import RedirectRequest, StorageDriver
from blob_service.middleware.base import DriverMiddleware
from moorage.config.middleware import RedirectTo


class RedirectMiddleware(DriverMiddleware):
    """Sends every client to `baseurl` and the path, whatever the driver would say and whoever asks.

    Nothing is signed: that server decides who may read. Source: distribution's `redirect` middleware.
    """

    def __init__(self, driver: StorageDriver, options: RedirectTo) -> None:
        super().__init__(driver)
        base = urlsplit(options.baseurl)
        self._base = urlunsplit((base.scheme, base.netloc, base.path.rstrip("/"), "", ""))

    async def redirect(self, request: RedirectRequest, path: str) -> str:
        """The URL of the path on that server."""
        return f"{self._base}{path}"
