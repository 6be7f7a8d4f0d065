"""A refusal that brings header fields of its own, and the answer that every refusal becomes."""

from __future__ import annotations

from collections.abc import Iterable

from api_gateway.headers import HeaderList, field
from moorage.errors import RegistryError

# Seconds after which a client may try again when a service was not there: it is back at once, or for long
# not.
_RETRY_AFTER = "1"


class RefusalError(RegistryError):
    """A RegistryError with fields that belong to its answer: where an upload stands, how large a blob is."""

    headers: HeaderList

    @classmethod
    def wrap(cls, error: RegistryError, headers: Iterable[tuple[bytes, bytes]]) -> RefusalError:
        """The same error with these fields."""
        refusal = cls(error.code, error.entries[0].detail)
        refusal.entries = error.entries
        refusal.headers = list(headers)
        return refusal


def envelope_headers(error: RegistryError) -> HeaderList:
    """The fields of an error's answer, without its length."""
    headers: HeaderList = [(b"content-type", b"application/json")]
    if error.http_status == 503:
        headers.append(field(b"retry-after", _RETRY_AFTER))
    if isinstance(error, RefusalError):
        headers.extend(error.headers)
    return headers
