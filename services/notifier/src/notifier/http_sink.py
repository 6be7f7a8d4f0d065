"""One endpoint over HTTP: an attempt is a POST that has ended, one way or another, when its time is over."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import structlog

from moorage import __version__
from moorage.config.endpoints import Endpoint, signing_key
from moorage.events import Event
from notifier.connections import PrivateAddressError, connector
from notifier.formats import body_of, message_id
from notifier.outcome import Outcome
from notifier.signatures import signed_headers

log = structlog.get_logger("notifier.http")

# An answer's body is read to this many bytes, so that its connection can be used again, and dropped.
_MOST_BODY = 64 * 1024

# Bytes of a line, and lines, of an answer's head.
_LONGEST_LINE = 8190
_MOST_HEADERS = 64

# Bytes that are read ahead.
_READ_AHEAD = 16 * 1024

# The redirects that mean the same request again, and how many of them are followed.
_SAME_REQUEST = frozenset({307, 308})
_MOST_REDIRECTS = 3

_NO_LIMIT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


class HTTPSink:
    """Sends events to one endpoint. Use it as an asynchronous context manager."""

    def __init__(self, endpoint: Endpoint, *, allow_private: bool, tls: ssl.SSLContext) -> None:
        self._endpoint = endpoint
        self._allow_private = allow_private
        self._tls = tls
        self._keys = [signing_key(secret) for secret in endpoint.secrets]
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=connector(
                self._endpoint.name,
                allow_private=self._allow_private,
                tls=self._tls,
                most=self._endpoint.concurrency,
            ),
            timeout=_NO_LIMIT,  # `send` has a deadline over all of it
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_AHEAD,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_MOST_HEADERS,
            trust_env=False,  # a proxy would connect to where this process must not
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, events: Sequence[Event]) -> Outcome:
        """One attempt, which ends after `timeout` seconds at the latest.

        It never raises for what an endpoint does. Its answer counts from the end of the head on.
        """
        deadline = asyncio.get_running_loop().time() + self._endpoint.timeout
        try:
            return await self._send(events, deadline)
        except TimeoutError:
            return Outcome(reason=f"no answer within {self._endpoint.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(reason=_reason(error))

    async def _send(self, events: Sequence[Event], deadline: float) -> Outcome:
        body = body_of(self._endpoint, events)
        headers = [
            *((name, line) for name, lines in self._endpoint.headers.items() for line in lines),
            *signed_headers(self._keys, message_id(events), int(time.time()), body.content).items(),
            ("Content-Type", body.media_type),
            ("User-Agent", f"moorage/{__version__}"),
            ("Accept-Encoding", "identity"),
        ]
        url = self._endpoint.url
        for _ in range(_MOST_REDIRECTS + 1):
            status, location = await self._post(url, headers, body.content, deadline)
            if status not in _SAME_REQUEST or location is None:
                return Outcome(status)
            target = urljoin(url, location)
            if not _may_follow(url, target):
                log.warning("a redirect to another host is not followed", endpoint=self._endpoint.name)
                return Outcome(status)
            url = target
        return Outcome(reason=f"more than {_MOST_REDIRECTS} redirects")

    async def _post(
        self, url: str, headers: list[tuple[str, str]], content: bytes, deadline: float
    ) -> tuple[int, str | None]:
        """The status of one request, and where it redirects to."""
        assert self._session is not None, "the sink is not open"  # noqa: S101
        async with asyncio.timeout_at(deadline):
            response = await self._session.post(url, headers=headers, data=content, allow_redirects=False)
        try:
            async with asyncio.timeout_at(deadline):
                await self._drain(response)
        except TimeoutError:
            log.debug("the rest of an answer is not waited for", endpoint=self._endpoint.name)
        finally:
            response.close()  # without effect on a connection that went back already
        return response.status, response.headers.get("Location")

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Read what little there is, for the connection's sake: the head has said how it went already.

        What is more, or does not come in time, or breaks off, ends with the connection.
        """
        read = 0
        try:
            while read <= _MOST_BODY:
                chunk = await response.content.readany()
                if not chunk:
                    return
                read += len(chunk)
        except (aiohttp.ClientError, OSError):
            log.debug("an answer broke off after its head", endpoint=self._endpoint.name)


def _may_follow(url: str, target: str) -> bool:
    """Whether a redirect stays at the endpoint: same host, and the same port or from http to https."""
    here, there = urlsplit(url), urlsplit(target)
    try:
        same_port = (here.scheme, here.port) == (there.scheme, there.port)
    except ValueError:
        return False
    return here.hostname == there.hostname and (same_port or (here.scheme, there.scheme) == ("http", "https"))


def _reason(error: Exception) -> str:
    """Why there was no answer, without the URL, which may hold a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"its name cannot be resolved: {error.os_error.strerror or 'no such host'}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, PrivateAddressError):
            return str(cause)
        return f"cannot connect: {cause.strerror or cause}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before there was an answer"
    if isinstance(error, aiohttp.InvalidURL):
        return "its URL, or where it redirects to, cannot be used"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError | ValueError):
        return "its answer is not HTTP, or its head is too long"
    if isinstance(error, OSError):
        return f"the connection was lost: {error.strerror or type(error).__name__}"
    return type(error).__name__
