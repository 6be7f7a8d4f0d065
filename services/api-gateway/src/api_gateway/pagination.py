"""Paging by `n` and `last`, and the `Link` to the next page.

Source: Docker Registry HTTP API V2, "Pagination"; OCI distribution specification 1.1, "Listing tags"; RFC
8288.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from moorage.errors import ErrorCode, RegistryError

_NUMBER = re.compile(r"0*([0-9]+)", re.ASCII)

# No page is as large as a number of this many digits, so a longer one need not be read to be known as too
# large.
_MOST_DIGITS = 9

# The most that a refused number takes of the answer that quotes it.
_QUOTED = 40


def parse_page_size(text: str | None) -> int | None:
    """The `n` of a request; None when it is absent or empty.

    A number of any length is accepted and cut to 10**9, before anything is allocated. Raises
    PAGINATION_NUMBER_INVALID for what is not an ASCII decimal.
    """
    if not text:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise invalid_page_size(text)
    digits = match[1]
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def invalid_page_size(text: str) -> RegistryError:
    """The refusal of a page size, which it names."""
    return RegistryError(ErrorCode.PAGINATION_NUMBER_INVALID, {"n": text[:_QUOTED]})


def next_link(path: str, n: int, last: str, **further: str) -> str:
    """The value of a `Link` to the page after `last`: relative, at the path as the client wrote it.

    `path` is the request's path, still percent-encoded. `further` are query parameters that the next page
    needs besides `n` and `last`.
    """
    query = urlencode({"n": str(n), "last": last, **further}, quote_via=quote, safe="")
    return f'<{path}?{query}>; rel="next"'
