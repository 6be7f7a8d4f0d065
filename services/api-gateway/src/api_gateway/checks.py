"""The checks that `health` configures: the storage driver, files, HTTP and TCP peers."""

from __future__ import annotations

import asyncio
import http.client
import os
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from api_gateway.health import Check, CheckFailedError
from moorage.config import Configuration
from moorage.config.health import FileCheck, HTTPCheck, TCPCheck
from moorage.config.values import split_host_port
from moorage.rpc import Address, Security, open_channel
from moorage.rpc.client import Channel
from moorage.rpc.health import DESCRIPTOR_CACHE, WEBHOOKS, is_degraded, is_serving

Serving = Callable[[float], Awaitable[bool]]
"""Whether the blob service says within so many seconds that its storage driver works."""

# Seconds between questions about the descriptor cache, and the most that an answer may take.
_CACHE_INTERVAL = 1.0
_CACHE_TIMEOUT = 1.0

# The same of the webhooks; an answer that is missing once means nothing.
_WEBHOOKS_INTERVAL = 5.0
_WEBHOOKS_TIMEOUT = 2.0
_WEBHOOKS_THRESHOLD = 2


def configured_checks(
    config: Configuration, blobs_serving: Serving, metadata: Channel | None = None
) -> list[Check]:
    """The checks of a configuration, under distribution's names.

    With the metadata service's channel also one of the descriptor cache, when that is Redis.
    """
    health = config.health
    checks = [Check(each.file, _file_probe(each), each.interval, each.threshold) for each in health.file]
    checks += [Check(each.uri, _http_probe(each), each.interval, each.threshold) for each in health.http]
    checks += [Check(each.addr, _tcp_probe(each), each.interval, each.threshold) for each in health.tcp]
    driver = health.storagedriver
    if driver.enabled:
        timeout = min(driver.interval, config.services.timeout)
        name = f"storagedriver_{config.storage.driver_name}"
        checks.append(Check(name, _driver_probe(blobs_serving, timeout), driver.interval, driver.threshold))
    if metadata is not None and config.storage.cache.blobdescriptor == "redis":
        checks.append(Check("redis", _cache_probe(metadata), _CACHE_INTERVAL, threshold=0, vital=False))
    return checks


def webhook_checks(config: Configuration, security: Security | None = None) -> list[Check]:
    """The check of the webhooks, where there are any: events that wait fail no request."""
    if all(endpoint.disabled for endpoint in config.notifications.endpoints):
        return []
    address = Address.parse(config.services.notifier.addr)

    async def probe() -> None:
        channel = open_channel(address, security, to="notifier")
        try:
            if not await is_serving(channel, timeout=_WEBHOOKS_TIMEOUT):
                raise CheckFailedError("the notifier does not serve; events wait for it")
            if await is_degraded(channel, WEBHOOKS, timeout=_WEBHOOKS_TIMEOUT):
                raise CheckFailedError(
                    "an endpoint does not take events; 'moorage events endpoints' says which and why"
                )
        finally:
            await channel.close(None)

    return [Check("webhooks", probe, _WEBHOOKS_INTERVAL, _WEBHOOKS_THRESHOLD, vital=False)]


def _cache_probe(metadata: Channel) -> Callable[[], Awaitable[None]]:
    async def probe() -> None:
        if await is_degraded(metadata, DESCRIPTOR_CACHE, timeout=_CACHE_TIMEOUT):
            raise CheckFailedError("the descriptor cache is away or takes no changes; storage is asked")

    return probe


def _driver_probe(blobs_serving: Serving, timeout: float) -> Callable[[], Awaitable[None]]:
    async def probe() -> None:
        if not await blobs_serving(timeout):
            raise CheckFailedError("the blob service is not serving")

    return probe


def _file_probe(check: FileCheck) -> Callable[[], Awaitable[None]]:
    async def probe() -> None:
        if await asyncio.to_thread(os.path.lexists, check.file):
            raise CheckFailedError("file exists")

    return probe


def _tcp_probe(check: TCPCheck) -> Callable[[], Awaitable[None]]:
    host, port = split_host_port(check.addr)

    async def probe() -> None:
        try:
            async with asyncio.timeout(check.timeout):
                _, writer = await asyncio.open_connection(host or "localhost", port)
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            raise CheckFailedError(f"connection to {check.addr} failed") from error

    return probe


def _http_probe(check: HTTPCheck) -> Callable[[], Awaitable[None]]:
    async def probe() -> None:
        try:
            # The socket's timeout is for each step; the thread ends by itself, and nobody waits for it
            # longer.
            async with asyncio.timeout(2 * check.timeout):
                status = await asyncio.to_thread(_head, check)
        except (OSError, http.client.HTTPException, TimeoutError) as error:
            raise CheckFailedError(f"HEAD {check.uri} failed") from error
        if status != check.statuscode:
            raise CheckFailedError(f"HEAD {check.uri} answered {status}, not {check.statuscode}")

    return probe


def _head(check: HTTPCheck) -> int:
    """The status of a HEAD request; redirects are not followed, so `statuscode` may name one."""
    url = urlsplit(check.uri)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=check.timeout)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.putrequest("HEAD", target)
        for name, values in check.headers.items():
            for value in values:
                connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()
