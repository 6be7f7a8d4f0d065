"""What the server's protocol lets an application do with a client's connection, beyond ASGI.

These are ASGI extensions: entries of `scope["extensions"]`, and one message that `send` takes. Handlers stay
ordinary: what they lend, they lend through them, and where an extension is missing they do without.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

ABORT = "moorage.abort"
"""Reset the client's connection: a callable without arguments."""

REST = "moorage.rest"
"""What was read of the body before the client went away, which the server would forget, and whether more of
it was to come: a callable."""

LEND_BODY = "moorage.lend_body"
"""Lend the connection until the request's body has been read from it: a `LendBody`. Missing where it cannot
be lent. The body must not have been asked for."""

LEND_RESPONSE = "moorage.lend_response"
"""There if the message of `lent_response` may be sent."""

LENT_RESPONSE = "moorage.response.lent"
"""The type of that message."""


class ClientDisconnectedError(Exception):
    """The client went away before its request was answered."""


@dataclass(slots=True)
class LentBody:
    """A connection that is lent so that somebody else reads a request's body from it.

    Whoever lends it says with one of the methods how it comes back. If none is called, nobody knows where the
    body ends: the connection is closed after the answer.
    """

    descriptor: int
    """A duplicate of the client's socket, closed when the loan is over. It does not block, and must not."""

    received: bytes
    """What the server has read of the body, as it came off the wire."""

    moved: int = field(default=0, init=False)
    """Bytes of the body that were read, without its framing."""

    rest: bytes | None = field(default=None, init=False)
    untouched: bool = field(default=False, init=False)

    def returned(self, rest: bytes) -> None:
        """The body was read to its end; `rest` was read behind it and belongs to the next request."""
        self.rest = rest

    def returned_untouched(self) -> None:
        """Nothing was read from the connection: the body is where it was."""
        self.untouched = True


LendBody = Callable[[], AbstractAsyncContextManager[LentBody]]


@dataclass(slots=True)
class LentResponse:
    """A connection that is lent so that somebody else writes an answer to it."""

    descriptor: int
    """As in `LentBody`."""

    head: bytes
    """The answer's head, which comes first."""

    started: bool = field(default=False, init=False)
    """Whether the first byte may have been written: then only a reset can end the answer early."""

    written: int = field(default=0, init=False)
    """Bytes of the body."""


WriteResponse = Callable[[LentResponse], Awaitable[None]]
"""Writes head and body. It sets `started` and, also when it raises, `written`."""


def lent_response(
    status: int, headers: list[tuple[bytes, bytes]], write: WriteResponse
) -> MutableMapping[str, Any]:
    """The message that lends the connection for an answer with a Content-Length, in place of start and body.

    When `write` raises, so does `send`; an answer that was not `started` can then be another one. What was
    written of the body stands in the message's `written` afterwards.
    """
    return {
        "type": LENT_RESPONSE,
        "status": status,
        "headers": headers,
        "write": write,
        "started": False,
        "written": 0,
    }
