"""A refusal that brings header fields of its own, and the answer that every refusal becomes."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api_gateway.headers import HeaderList, field
from moorage.errors import RegistryError

# Seconds after which a client may try again when a service was not there: it is back at once, or for long
# not.
_RETRY_SECONDS = 1

_RETRY_AFTER = b"retry-after"


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
    own = error.headers if isinstance(error, RefusalError) else []
    if error.http_status == 503 and not any(name == _RETRY_AFTER for name, _ in own):
        headers.append(retry_after(_RETRY_SECONDS))
    return headers + own


def retry_after(seconds: int) -> tuple[bytes, bytes]:
    """The field that says when to come again."""
    return field(_RETRY_AFTER, str(seconds))


def last_answer(error: RegistryError, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """An error's answer as it goes over the wire, these fields first; the connection ends behind it.

    For what is refused before it is a request.
    """
    body = error.envelope()
    fields = [
        *headers,
        *envelope_headers(error),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"connection", b"close"),
    ]
    lines = [STATUS_LINE[error.http_status], *(b"%b: %b\r\n" % pair for pair in fields), b"\r\n", body]
    return b"".join(lines)
