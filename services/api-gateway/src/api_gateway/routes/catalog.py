"""The repositories of the registry, or those among them that the caller may know of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from api_gateway.clients.metadata import MetadataClient
from api_gateway.headers import HeaderList, field
from api_gateway.pagination import invalid_page_size, next_link, parse_page_size
from api_gateway.request import Request
from moorage.errors import ErrorCode, RegistryError

# Entries of a page when the client does not say; distribution's number.
_DEFAULT_PAGE = 100

# Calls that one page of some repositories among many is worth.
_MOST_CALLS = 5

# Where a search that filled no page stands, in the URL of the next one.
_POSITION = "_position"

# The most of a refused position that its error quotes.
_QUOTED = 40


class Listing(Protocol):
    """Which part of the catalog callers see."""

    def globs(self, user: str) -> Sequence[str]:
        """The globs of the repositories that the user finds; none for nothing."""
        ...

    def seal(self, position: str, user: str) -> str:
        """A position, which may name what the user must not know of, as text that tells nobody."""
        ...

    def unseal(self, text: str, user: str) -> str:
        """The position that was sealed for the user. Raises ValueError."""
        ...


@dataclass(slots=True)
class _Page:
    """What was found, and where the search stands: "" for behind what was found."""

    repositories: list[str]
    more: bool = False
    position: str = ""


class CatalogRoutes:
    """Lists repositories; a page holds at most `largest_page` of them."""

    def __init__(self, metadata: MetadataClient, listing: Listing | None, *, largest_page: int) -> None:
        """`listing` says what callers see who may not see everything; without it they see nothing."""
        self._metadata = metadata
        self._listing = listing
        self._largest_page = largest_page

    async def get(self, request: Request) -> None:
        """List `n` repositories after `last`. A larger `n` than a page holds is refused."""
        given = request.query("n")
        n = parse_page_size(given)
        if n is None:
            n = min(_DEFAULT_PAGE, self._largest_page)
        elif n > self._largest_page:
            raise invalid_page_size(given or "")
        last = request.query("last") or ""
        page = _Page([])
        further: dict[str, str] = {}
        if request.grant.holds("registry", "catalog", "*"):
            if n > 0:
                found = await self._metadata.list_repositories(last, n)
                page = _Page(list(found.repositories), found.more)
        else:
            listing = self._part_of(request)
            if n > 0:
                page = await self._search(listing, request, last, n)
            if page.position:
                further = {_POSITION: listing.seal(page.position, request.grant.user)}
        headers: HeaderList = [(b"content-type", b"application/json")]
        if page.more:
            # What a search has passed over is not named: `last` is what the client knows.
            shown = page.repositories[-1] if page.repositories else last
            headers.append(field(b"link", next_link(request.path, n, shown, **further)))
        body = json.dumps({"repositories": page.repositories}, separators=(",", ":"))
        await request.respond(200, headers, body.encode())

    def _part_of(self, request: Request) -> Listing:
        if self._listing is None:
            raise RegistryError(ErrorCode.DENIED, message="nothing says which part of the catalog this is")
        return self._listing

    async def _search(self, listing: Listing, request: Request, last: str, n: int) -> _Page:
        """The part of the catalog that the user sees, in a bounded number of calls."""
        user = request.grant.user
        globs = listing.globs(user)
        page = _Page([])
        if not globs:
            return page
        position = last
        sealed = request.query(_POSITION)
        if sealed:
            try:
                position = listing.unseal(sealed, user)
            except ValueError as error:
                raise RegistryError(
                    ErrorCode.PAGINATION_NUMBER_INVALID,
                    {_POSITION: sealed[:_QUOTED]},
                    message="not a position that this registry gave to this user",
                ) from error
        for _ in range(_MOST_CALLS):
            found = await self._metadata.list_repositories(position, n - len(page.repositories), globs)
            page.repositories += found.repositories
            page.more, page.position = found.more, found.position
            position = found.position
            if not position or len(page.repositories) >= n:
                break
        return page
