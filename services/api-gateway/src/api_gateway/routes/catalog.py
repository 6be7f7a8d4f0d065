"""The repositories of the registry."""

from __future__ import annotations

import json

from api_gateway.clients.metadata import MetadataClient
from api_gateway.headers import HeaderList, field
from api_gateway.pagination import invalid_page_size, next_link, parse_page_size
from api_gateway.request import Request

# Entries of a page when the client does not say; distribution's number.
_DEFAULT_PAGE = 100


class CatalogRoutes:
    """Lists repositories; a page holds at most `largest_page` of them."""

    def __init__(self, metadata: MetadataClient, *, largest_page: int) -> None:
        self._metadata = metadata
        self._largest_page = largest_page

    async def get(self, request: Request) -> None:
        """List `n` repositories after `last`. A larger `n` than a page holds is refused."""
        given = request.query("n")
        n = parse_page_size(given)
        if n is None:
            n = min(_DEFAULT_PAGE, self._largest_page)
        elif n > self._largest_page:
            raise invalid_page_size(given or "")
        repositories: list[str] = []
        more = False
        if n > 0:
            repositories, more = await self._metadata.list_repositories(request.query("last") or "", n)
        headers: HeaderList = [(b"content-type", b"application/json")]
        if more:
            headers.append(field(b"link", next_link(request.path, n, repositories[-1])))
        body = json.dumps({"repositories": repositories}, separators=(",", ":"))
        await request.respond(200, headers, body.encode())
