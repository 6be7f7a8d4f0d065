"""The instances of the blob service, and which of them gets a call.

An upload's calls go to one instance, by rendezvous hashing on its id: every gateway comes to the same one,
and when the list of instances changes, few uploads move. Any instance can take over; it only has to read what
is stored.

The list is the configuration's, or what DNS has for a name in it (`dns:///name:port`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import grpc

from api_gateway.clients.channel import DataChannel, open_data_channel
from moorage.config.services import Services
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, Channel, Security, open_channel
from moorage.rpc.discovery import Ask, following, resolve
from moorage.rpc.health import is_serving
from moorage.rpc.readiness import Readiness, connected
from moorage.v1 import blob_pb2_grpc

# How well an instance can be called: it is connected, it may be soon, or the last attempt failed.
_RANKS = {grpc.ChannelConnectivity.READY: 0, grpc.ChannelConnectivity.TRANSIENT_FAILURE: 2}
_UNKNOWN_RANK = 1

# Seconds after which the connection to an instance is closed that DNS does not list any more: longer than an
# instance that stops may take to drain.
_RETIREMENT = 600.0


@dataclass(frozen=True, slots=True)
class BlobInstance:
    """One instance: its channel and the stubs on it."""

    address: str
    channel: Channel
    readiness: Readiness
    store: blob_pb2_grpc.BlobStoreAsyncStub
    uploads: blob_pb2_grpc.UploadsAsyncStub
    data: DataChannel

    @classmethod
    def at(cls, address: Address, services: Services, security: Security | None) -> BlobInstance:
        """The instance at an address; it is connected to on first use."""
        channel = open_channel(address, security, to="blob")
        store, uploads = blob_pb2_grpc.BlobStoreStub(channel), blob_pb2_grpc.UploadsStub(channel)
        data = open_data_channel(address, store, services, security)
        return cls(address.target, channel, Readiness(channel, grace=services.grace), store, uploads, data)

    @property
    def rank(self) -> int:
        """How well it can be called; 0 is best."""
        return _RANKS.get(self.channel.get_state(try_to_connect=True), _UNKNOWN_RANK)

    async def close(self) -> None:
        """Close the channels: calls under way end."""
        await self.data.close()
        await self.channel.close(None)


class BlobInstances:
    """All instances of the blob service. Where one is a name, they are known while `followed`."""

    def __init__(
        self, addresses: Sequence[str], services: Services, security: Security | None = None
    ) -> None:
        self._services = services
        self._security = security
        self._addresses = [Address.parse(address) for address in addresses]
        # Those that are listed, and those that were: they may still have calls under way.
        self._instances: dict[Address, BlobInstance] = {}
        self._retired: dict[Address, tuple[BlobInstance, asyncio.Task[None]]] = {}
        self._known = asyncio.Event()
        # One that is listed is not connected: DNS may know of its successor.
        self._missing = asyncio.Event()
        self._list([address for address in self._addresses if not address.discovered])

    @asynccontextmanager
    async def followed(self, ask: Ask = resolve) -> AsyncIterator[BlobInstances]:
        """Follow what DNS has for names among the addresses, while the context is open."""
        async with following(self._addresses, self._list, ask=ask, missing=self._missing):
            yield self

    async def for_key(self, key: str) -> BlobInstance:
        """The instance for a key (an upload's id, a digest), connected if it can be.

        An instance has `services.grace` to be listed and to be connected. Raises RegistryError UNAVAILABLE
        when none is known.
        """
        if not self._instances:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._services.grace):
                    await self._known.wait()
        return await connected(partial(self.chosen, key), self._missing.set)

    def chosen(self, key: str) -> BlobInstance:
        """The instance for a key: the same one each time, unless it is not connected and another one is.

        Raises RegistryError UNAVAILABLE when no instance is known.
        """
        instances = self._instances.values()
        if len(instances) == 1:
            return next(iter(instances))
        if not instances:
            raise RegistryError(ErrorCode.UNAVAILABLE, "no instance of the blob service is known")
        return min(instances, key=lambda each: (each.rank, _weight(each.address, key)))

    async def serving(self, timeout: float) -> bool:
        """Whether an instance says, within `timeout` seconds, that it can do its work."""
        answers = await asyncio.gather(
            *(is_serving(each.channel, timeout=timeout) for each in self._instances.values())
        )
        return any(answers)

    async def close(self) -> None:
        """Close the channels."""
        retired = [instance for instance, _ in self._retired.values()]
        closing = [task for _, task in self._retired.values()]
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for each in (*self._instances.values(), *retired):
            await each.close()

    def _list(self, addresses: Sequence[Address]) -> None:
        """These are the instances from now on. One that is there already keeps its connection."""
        before, self._instances = self._instances, {}
        for address in addresses:
            instance = before.pop(address, None) or self._recalled(address)
            self._instances[address] = instance or BlobInstance.at(address, self._services, self._security)
        if self._instances:
            self._known.set()
        for address, instance in before.items():
            self._retired[address] = instance, asyncio.create_task(self._retire(address, instance))

    def _recalled(self, address: Address) -> BlobInstance | None:
        instance, closing = self._retired.pop(address, (None, None))
        if closing is not None:
            closing.cancel()
        return instance

    async def _retire(self, address: Address, instance: BlobInstance) -> None:
        """Close an instance that is not listed any more, when it has had the time to drain."""
        await asyncio.sleep(_RETIREMENT)
        del self._retired[address]
        await instance.close()


def _weight(address: str, key: str) -> bytes:
    return hashlib.sha256(f"{address}\0{key}".encode()).digest()
