"""One request and its answer on a connection: uvicorn's cycle, which can also lend the connection.

The head of an answer is checked as one piece of bytes and goes out in one write with a small body: uvicorn
looks at each field twice, and writes twice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from api_gateway.connection import LENT_RESPONSE, ClientDisconnectedError, LentBody, LentResponse
from api_gateway.headers import HeaderList

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A body up to this size is copied behind its head; a larger one is written beside it.
_JOINED = 64 * 1024

# Before a connection is lent, what was written to it must have left this process: whoever has it next writes
# straight to the socket. Seconds.
_FLUSH_SECONDS = 300.0


class Cycle(RequestResponseCycle):
    """What is under way for one request. `body_wanted` makes the protocol read its body."""

    transport: asyncio.Transport

    def __init__(self, *, body_wanted: Callable[[Cycle], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._body_wanted = body_wanted
        # A head that waits for the first of the body: the two go out in one write.
        self._waiting_head = b""

    async def receive(self) -> Any:
        """ASGI's receive: the body's next piece, or the client's leaving."""
        self._body_wanted(self)
        return await super().receive()

    async def send(self, message: Any) -> None:
        """ASGI's send, and the message of `connection.lent_response`."""
        kind = message["type"]
        if kind == LENT_RESPONSE:
            await self._lend_response(message)
        elif kind == "http.response.start" and not self.response_started:
            self._waiting_head = self._head(message["status"], message["headers"])
            self.response_started = True
            self.waiting_for_100_continue = False
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
            if not self.disconnected:
                self._write_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"a message out of turn: {kind}")

    def _write_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
        if self.expected_content_length < 0 or (self.expected_content_length and not more):
            raise RuntimeError("the answer is not as long as its Content-Length")
        head, self._waiting_head = self._waiting_head, b""
        if len(body) > _JOINED:
            self.transport.writelines([head, body])
        elif head or body:
            self.transport.write(head + body)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _head(self, status: int, headers: HeaderList) -> bytes:
        """The head of an answer; raises RuntimeError for a field that would end before its line does."""
        lines = [STATUS_LINE[status]]
        closes = False
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                closes = True
            lines.append(b"%b: %b\r\n" % (name, value))
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines) or b"\0" in head:
            raise RuntimeError("a field of the answer holds a line break")
        return head

    async def flush(self) -> None:
        """Wait until what was written has been given to the kernel.

        Raises ClientDisconnectedError when the client is gone, or does not take it.
        """
        if self.transport.get_write_buffer_size():
            # From now on any byte in the buffer pauses writing.
            self.transport.set_write_buffer_limits(high=0)
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self.flow.drain()
            except TimeoutError:
                raise ClientDisconnectedError from None
            finally:
                self.transport.set_write_buffer_limits()
        if self.disconnected or self.transport.is_closing():
            raise ClientDisconnectedError

    def duplicate(self) -> int:
        """A duplicate of the client's socket, for whoever it is lent to."""
        return os.dup(self.transport.get_extra_info("socket").fileno())

    async def _lend_response(self, message: Any) -> None:
        await self.flush()
        head = self._head(message["status"], message["headers"])
        # Who reads the answer sends the next request behind it: that stays in the kernel for now.
        self.flow.pause_reading()
        lent = LentResponse(self.duplicate(), head)
        try:
            await message["write"](lent)
        except BaseException:
            self.expected_content_length = 0
            self.chunked_encoding = None
            raise
        finally:
            os.close(lent.descriptor)
            self.response_started = message["started"] = lent.started
            message["written"] = lent.written
            self.flow.resume_reading()
        self.waiting_for_100_continue = False
        self._complete()

    @asynccontextmanager
    async def lend_body(self, received: Callable[[], bytes]) -> AsyncIterator[LentBody]:
        """Lend the connection for the body. `received` gives what was read of it, once reading has ended."""
        if self.waiting_for_100_continue:
            self.transport.write(_CONTINUE)
            self.waiting_for_100_continue = False
        await self.flush()
        self.flow.pause_reading()
        lent = LentBody(self.duplicate(), received())
        try:
            yield lent
        finally:
            os.close(lent.descriptor)
