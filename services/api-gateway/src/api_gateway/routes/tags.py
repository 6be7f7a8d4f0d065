"""The tags of a repository."""

from __future__ import annotations

from api_gateway.clients.tags import TagsClient
from api_gateway.headers import HeaderList, field
from api_gateway.memory import TagListKey
from api_gateway.pagination import next_link, parse_page_size
from api_gateway.request import Request


class TagRoutes:
    """Lists tags; a page holds at most `largest_page` of them."""

    def __init__(self, tags: TagsClient, *, largest_page: int) -> None:
        self._tags = tags
        self._largest_page = largest_page

    async def get(self, request: Request) -> None:
        """List the tags after `last`: `n` of them, or all. A larger `n` than a page holds is cut to it."""
        n = parse_page_size(request.query("n"))
        limit = None if n is None else min(n, self._largest_page)
        tags = await self._tags.list(TagListKey(request.name, request.query("last") or "", limit))
        headers: HeaderList = [(b"content-type", b"application/json")]
        if limit and tags.more:
            headers.append(field(b"link", next_link(request.path, limit, tags.last)))
        await request.respond(200, headers, tags.body)
