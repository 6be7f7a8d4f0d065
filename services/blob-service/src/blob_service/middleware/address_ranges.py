"""The networks that Amazon publishes as its own, kept up to date.

Source: "AWS IP address ranges" in the AWS General Reference, which describes `ip-ranges.json`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import structlog

log = structlog.get_logger(__name__)

# The document is about 2 MB.
_MOST_BYTES = 32 << 20
_FETCH_SECONDS = 30.0

# How soon to try again after the first failure; then twice as long each time, up to the usual interval.
_RETRY_SECONDS = 30.0


class AddressRanges:
    """Which addresses are in the networks that the document at `url` lists.

    `regions` (lower case) limits them; None is all. The document is fetched at the start and every `every`
    seconds. Until it has been had, no address is in it; when it cannot be had again, the last one counts.
    """

    def __init__(
        self,
        url: str,
        *,
        regions: Collection[str] | None,
        every: float,
        retry: float = _RETRY_SECONDS,
    ) -> None:
        self._url = url
        self._regions = regions
        self._every = every
        self._retry = retry
        # By IP version.
        self._ranges: dict[int, _Ranges] = {}
        self._updating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep up to date from now on, on the running event loop."""
        self._updating = asyncio.create_task(self._update_for_ever())

    async def stop(self) -> None:
        """Stop updating."""
        if self._updating is not None:
            self._updating.cancel()
            with suppress(asyncio.CancelledError):
                await self._updating

    def __contains__(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        own = mapped or parsed
        ranges = self._ranges.get(own.version)
        return ranges is not None and int(own) in ranges

    async def update(self) -> None:
        """Fetch the document and take what it lists.

        Raises aiohttp.ClientError, TimeoutError, and ValueError for what is not such a document.
        """
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"the answer is {response.status}")
            text = bytearray()
            async for chunk in response.content.iter_any():
                text += chunk
                if len(text) > _MOST_BYTES:
                    raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
        self._ranges = await asyncio.to_thread(_parse, bytes(text), self._regions)
        log.info("address ranges updated", url=self._url, ranges=sum(map(len, self._ranges.values())))

    async def _update_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                await self.update()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                wait = min(self._every, self._retry * 2 ** min(failures, 20))
                failures += 1
                log.warning(
                    "address ranges could not be fetched",
                    url=self._url,
                    error=str(error) or type(error).__name__,
                    again_in=wait,
                )
            else:
                failures, wait = 0, self._every
            await asyncio.sleep(wait)


class _Ranges:
    """Numbers in sorted ranges that do not meet."""

    def __init__(self, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        """Takes networks in ascending order that do not meet, as `collapse_addresses` gives them."""
        bounds = [(int(network.network_address), int(network.broadcast_address)) for network in networks]
        self._first = [first for first, _ in bounds]
        self._last = [last for _, last in bounds]

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._first, number) - 1
        return index >= 0 and number <= self._last[index]

    def __len__(self) -> int:
        return len(self._first)


def _parse(text: bytes, regions: Collection[str] | None) -> dict[int, _Ranges]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is not a map")  # noqa: TRY004  a wrong document, not a wrong call
    v4, v6 = [], []
    for prefix in (
        *_prefixes(document, "prefixes", "ip_prefix", regions),
        *_prefixes(document, "ipv6_prefixes", "ipv6_prefix", regions),
    ):
        try:
            network = ipaddress.ip_network(prefix)
        except ValueError:
            log.warning("an address range cannot be read", prefix=prefix)
            continue
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return {4: _Ranges(ipaddress.collapse_addresses(v4)), 6: _Ranges(ipaddress.collapse_addresses(v6))}


def _prefixes(
    document: dict[str, Any], listed: str, named: str, regions: Collection[str] | None
) -> Iterator[str]:
    entries = document.get(listed)
    if not isinstance(entries, list):
        raise ValueError(f"it has no list of {listed}")  # noqa: TRY004  a wrong document, not a wrong call
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        if regions is None or str(entry.get("region")).lower() in regions:
            yield str(entry.get(named))
