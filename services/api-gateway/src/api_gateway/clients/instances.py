"""The instances of the blob service, and which of them gets a call.

An upload's calls go to one instance, by rendezvous hashing on its id: every gateway comes to the same one,
and when the list of instances changes, few uploads move. Any instance can take over; it only has to read what
is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from api_gateway.clients.channel import DataChannel, open_data_channel
from api_gateway.clients.readiness import Readiness
from moorage.config.services import Services
from moorage.rpc import Address, Channel, Security, open_channel
from moorage.rpc.health import is_serving
from moorage.v1 import blob_pb2_grpc


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
    def at(cls, address: str, services: Services, security: Security | None) -> BlobInstance:
        """The instance at an address; it is connected to on first use."""
        parsed = Address.parse(address)
        channel = open_channel(parsed, security, to="blob")
        store, uploads = blob_pb2_grpc.BlobStoreStub(channel), blob_pb2_grpc.UploadsStub(channel)
        data = open_data_channel(parsed, store, services)
        return cls(address, channel, Readiness(channel), store, uploads, data)


class BlobInstances:
    """All instances of the blob service."""

    def __init__(
        self, addresses: Sequence[str], services: Services, security: Security | None = None
    ) -> None:
        self._instances = [BlobInstance.at(address, services, security) for address in addresses]

    async def for_key(self, key: str) -> BlobInstance:
        """The instance for a key (an upload's id, a digest), connected if it can be."""
        instance = self.chosen(key)
        await instance.readiness.wait()
        return instance

    def chosen(self, key: str) -> BlobInstance:
        """The instance for a key: the same one each time, unless it is down."""
        if len(self._instances) == 1:
            return self._instances[0]
        return min(self._instances, key=lambda each: (each.readiness.is_down, _weight(each.address, key)))

    async def serving(self, timeout: float) -> bool:
        """Whether an instance says, within `timeout` seconds, that it can do its work."""
        answers = await asyncio.gather(
            *(is_serving(each.channel, timeout=timeout) for each in self._instances)
        )
        return any(answers)

    async def close(self) -> None:
        """Close the channels."""
        for each in self._instances:
            await each.data.close()
            await each.channel.close(None)


def _weight(address: str, key: str) -> bytes:
    return hashlib.sha256(f"{address}\0{key}".encode()).digest()
