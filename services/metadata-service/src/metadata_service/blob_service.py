"""The blob service's instances, and how one of them is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import grpc

from metadata_service.deadline import remaining, within
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, Channel, Security, open_channel, unary
from moorage.rpc.client import UnaryMethod
from moorage.rpc.discovery import following
from moorage.rpc.health import is_serving
from moorage.rpc.readiness import Readiness, connected
from moorage.v1 import blob_pb2_grpc

# Calls under way at once. A reply holds a manifest at most, so this bounds the memory that replies take.
MAX_CALLS = 128

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: its channel and the stubs on it."""

    channel: Channel
    readiness: Readiness
    blobs: blob_pb2_grpc.BlobStoreAsyncStub
    objects: blob_pb2_grpc.ObjectStoreAsyncStub

    @classmethod
    def at(cls, address: Address, grace: float, security: Security | None) -> Instance:
        """The instance at an address. It is connected to in the background."""
        channel = open_channel(address, security, to="blob")
        channel.get_state(try_to_connect=True)
        blobs, objects = blob_pb2_grpc.BlobStoreStub(channel), blob_pb2_grpc.ObjectStoreStub(channel)
        return cls(channel, Readiness(channel, grace=grace), blobs, objects)

    @property
    def is_connected(self) -> bool:
        """Whether the last attempt to connect succeeded and nothing broke since."""
        return self.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY


class BlobService:
    """The blob service. Its instances share one storage, so a call may go to any of them.

    Where an address is a name in DNS, its instances are known while `followed`.
    """

    def __init__(
        self, addresses: Sequence[Address], *, timeout: float, grace: float, security: Security | None = None
    ) -> None:
        """`timeout` is the most seconds that one call may take, `grace` what an instance has to come back."""
        self._addresses = addresses
        self._security = security
        self._known = {
            address: Instance.at(address, grace, security) for address in addresses if not address.discovered
        }
        self._instances = list(self._known.values())
        self._timeout = timeout
        self._grace = grace
        # One that is listed is not connected: DNS may know of its successor.
        self._missing = asyncio.Event()
        self._turn = count()
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[BlobService]:
        """Follow what DNS has for names among the addresses, while the context is open."""
        async with following(self._addresses, self._list, missing=self._missing):
            yield self

    async def call(
        self, method: Callable[[Instance], UnaryMethod[_Request, _Response]], request: _Request
    ) -> _Response:
        """Call a method of one instance, within the deadline of the call that is being served.

        An instance that has just gone has a grace to come back, or to be found elsewhere.

        Raises RegistryError: what the blob service answered, or UNAVAILABLE.
        """
        async with self._slots:
            instance = await connected(self._next, self._missing.set)
            return await unary(method(instance), request, timeout=remaining(self._timeout))

    def unhurried(
        self, ask: Callable[[_Request], Awaitable[_Response]]
    ) -> Callable[[_Request], Awaitable[_Response]]:
        """`ask` with the whole time of a call: for several callers, who each have a deadline of their own."""

        async def unhurried(request: _Request) -> _Response:
            async with within(self._timeout, inherit=False):
                return await ask(request)

        return unhurried

    async def is_serving(self, *, timeout: float) -> bool:
        """Whether any instance says that it can do its work, within `timeout` seconds."""
        answers = [is_serving(instance.channel, timeout=timeout) for instance in self._instances]
        return any(await asyncio.gather(*answers))

    async def close(self) -> None:
        """Close the channels; calls under way fail."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for instance in self._instances:
            await instance.channel.close(None)

    def _list(self, addresses: Sequence[Address]) -> None:
        """These are the instances from now on. One that is there already keeps its connection."""
        before = self._known
        self._known = {
            address: before.get(address) or Instance.at(address, self._grace, self._security)
            for address in addresses
        }
        self._instances = list(self._known.values())
        for address in before.keys() - self._known.keys():
            task = asyncio.create_task(self._close_later(before[address]))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_later(self, instance: Instance) -> None:
        """Close an instance that is not listed any more, when the calls under way have ended."""
        try:
            await asyncio.sleep(self._timeout)
        finally:
            await instance.channel.close(None)

    def _next(self) -> Instance:
        """The instances in turn, those that are not connected left out while others are.

        Raises RegistryError UNAVAILABLE when no instance is known.
        """
        turn = next(self._turn)
        if len(self._instances) == 1:
            return self._instances[0]
        if not self._instances:
            raise RegistryError(ErrorCode.UNAVAILABLE, "no instance of the blob service is known")
        candidates = [each for each in self._instances if each.is_connected] or self._instances
        return candidates[turn % len(candidates)]
