"""`rewrite`: clients reach the storage under another scheme, host or path than the registry does."""

from __future__ import annotations

from urllib.parse import urlsplit

from blob_service.drivers.interface import RedirectRequest, StorageDriver
from blob_service.middleware.base import DriverMiddleware
from moorage.config.middleware import Rewrite


class RewriteMiddleware(DriverMiddleware):
    """Changes parts of the URL that comes from below; where none comes, there is none.

    A signature in the URL is kept as it is: whatever stands in front of the storage must restore what was
    signed, or the storage must not look at it. Source: distribution's `rewrite` middleware.
    """

    def __init__(self, driver: StorageDriver, options: Rewrite) -> None:
        super().__init__(driver)
        self._options = options

    async def redirect(self, request: RedirectRequest, path: str) -> str | None:
        """The driver's URL, rewritten."""
        url = await self._driver.redirect_url(request, path)
        if url is None:
            return None
        parts = urlsplit(url)
        shorter = parts.path.removeprefix(self._options.trimpathprefix)
        return parts._replace(
            scheme=self._options.scheme or parts.scheme,
            netloc=self._options.host or parts.netloc,
            path=shorter if shorter.startswith("/") else f"/{shorter}",
        ).geturl()
