"""The instances of a service whose address is a name: what DNS has for it, asked again and again.

In compose and in Kubernetes (a headless service) a name has an address for each container or pod that there
is. gRPC's own resolver asks again only when a connection breaks, so it never finds one that was added; and
while a name has nothing, its pauses grow to two minutes, for which no option exists. So names are followed
here: by whoever has to choose the instance itself, and by the channel (`NamedTarget`) of who does not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import structlog

from moorage.rpc.address import Address

log = structlog.get_logger("moorage.rpc.discovery")

# Seconds between two questions, when the last one was answered, and while nothing is known or answered.
_INTERVAL = 5.0
_RETRY = 0.5

# The most seconds that an answer may take.
_TIMEOUT = 5.0

# Seconds that a start waits for the first answer.
_FIRST = 2.0

Apply = Callable[[Sequence[Address]], None]
"""Told the addresses of all instances, at first and whenever they change."""

Ask = Callable[[Address], Awaitable[tuple[Address, ...]]]
"""Finds the addresses that a name has; raises OSError when it has none."""


async def resolve(address: Address) -> tuple[Address, ...]:
    """The addresses that the system's resolver has for a name, sorted; raises OSError when it has none.

    An instance may be reachable by IPv4 and by IPv6: the family that the system prefers counts.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family = found[0][0]
    hosts = sorted({str(entry[4][0]) for entry in found if entry[0] == family})
    return tuple(replace(address, host=host, discovered=False, name=address.host) for host in hosts)


@asynccontextmanager
async def following(
    addresses: Sequence[Address],
    apply: Apply,
    *,
    interval: float | None = None,
    ask: Ask = resolve,
    missing: asyncio.Event | None = None,
) -> AsyncIterator[None]:
    """Tell `apply` where the instances are while the context is open: those in DNS, and the others.

    Entering waits a moment for the first answer. What was known stays known while DNS does not answer, or
    has nothing: whether an instance is gone, its connection tells better. Who finds that it is gone sets
    `missing`, for the names to be asked again soon. Without an address of DNS nothing is told and nothing
    runs.
    """
    names = [_Name(each, ask) for each in addresses if each.discovered]
    if not names:
        yield
        return
    fixed = [each for each in addresses if not each.discovered]
    told = asyncio.Event()
    wake = missing or asyncio.Event()
    task = asyncio.create_task(_follow(names, fixed, apply, told, interval or _INTERVAL, wake))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST):
                await told.wait()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(
    names: Sequence[_Name],
    fixed: Sequence[Address],
    apply: Apply,
    told: asyncio.Event,
    interval: float,
    missing: asyncio.Event,
) -> None:
    last: list[Address] | None = None
    while True:
        await asyncio.gather(*(name.ask() for name in names))
        now = [*fixed, *(address for name in names for address in name.known)]
        if now != last:
            apply(now)
            last = now
        if all(name.known for name in names):
            told.set()
        await asyncio.sleep(min(_RETRY, interval))
        if all(name.known and name.answered for name in names):
            with suppress(TimeoutError):
                async with asyncio.timeout(max(interval - _RETRY, 0)):
                    await missing.wait()
        missing.clear()


class NamedTarget:
    """Where gRPC finds the instances behind a name, for a channel that is made again when that changes."""

    def __init__(self, address: Address, ask: Ask = resolve) -> None:
        self._address = address
        self._ask = ask
        self._target = address.target
        # What DNS had last, as a target; "" for nothing, None before the first answer.
        self._found: str | None = None
        self._missing = asyncio.Event()

    def target(self) -> str:
        """All addresses, as gRPC takes them; the name, as long as they are those that it had at first."""
        return self._target

    async def follow(self) -> None:
        """Keep the target up to date until this is cancelled."""
        async with following([self._address], self._list, ask=self._ask, missing=self._missing):
            await asyncio.get_running_loop().create_future()

    def missing(self) -> None:
        """Have DNS asked again soon: what it had last is not reachable."""
        self._missing.set()

    def _list(self, addresses: Sequence[Address]) -> None:
        found = ""
        if addresses:
            family = "ipv6" if ":" in addresses[0].host else "ipv4"
            found = f"{family}:{','.join(each.target for each in addresses)}"
        # The first answer gRPC has as well, and streams begin with it: they need not move.
        if found and self._found is not None:
            self._target = found
        self._found = found


@dataclass(slots=True)
class _Name:
    """A name, and what was last known of it."""

    address: Address
    resolve: Ask
    known: tuple[Address, ...] = ()
    answered: bool = True

    async def ask(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await self.resolve(self.address)
        except (OSError, TimeoutError) as error:
            if self.answered:
                log.warning(
                    "DNS has no answer", name=self.address.host, error=str(error) or "no answer in time"
                )
            self.answered = False
            return
        if found != self.known or not self.answered:
            log.info("instances", name=self.address.host, addresses=[each.target for each in found])
        self.known, self.answered = found, True
