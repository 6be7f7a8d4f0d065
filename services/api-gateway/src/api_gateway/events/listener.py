"""What the routes tell about what they did."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from api_gateway.memory import LinkedBlob, Manifest
from api_gateway.request import Request
from moorage.v1 import common_pb2


class Listener(Protocol):
    """Is told of each change after its commit and before its answer, and of each pull after its answer.

    A change is made while `admitted` is open, and acknowledged when the call that tells of it has returned.
    These raise RegistryError UNAVAILABLE: the change may stand, and must not be acknowledged.
    """

    def admitted(self) -> AbstractContextManager[None]:
        """Room for the events of one change; raises RegistryError UNAVAILABLE while there is none."""
        ...

    async def manifest_pushed(
        self, request: Request, descriptor: common_pb2.Descriptor, tags: Sequence[str], content: bytes
    ) -> None:
        """A manifest is there, and these tags name it."""
        ...

    async def manifest_deleted(self, request: Request, tags: Sequence[str]) -> None:
        """The request's manifest, with these tags, or its tag is gone."""
        ...

    async def blob_pushed(self, request: Request, descriptor: common_pb2.Descriptor) -> None:
        """A blob is there."""
        ...

    async def blob_mounted(
        self, request: Request, descriptor: common_pb2.Descriptor, from_repository: str
    ) -> None:
        """A blob of another repository is there."""
        ...

    async def blob_deleted(self, request: Request) -> None:
        """The request's blob is gone."""
        ...

    def manifest_pulled(self, request: Request, manifest: Manifest) -> None:
        """A manifest went out, or its head."""
        ...

    def blob_pulled(self, request: Request, blob: LinkedBlob) -> None:
        """A blob went out, or a part of it, its head, or where to get it."""
        ...


class Silent:
    """The listener of a registry that publishes nothing."""

    _admitted = nullcontext()

    def admitted(self) -> AbstractContextManager[None]:
        """See `Listener.admitted`."""
        return self._admitted

    async def manifest_pushed(
        self, request: Request, descriptor: common_pb2.Descriptor, tags: Sequence[str], content: bytes
    ) -> None:
        """Nothing."""

    async def manifest_deleted(self, request: Request, tags: Sequence[str]) -> None:
        """Nothing."""

    async def blob_pushed(self, request: Request, descriptor: common_pb2.Descriptor) -> None:
        """Nothing."""

    async def blob_mounted(
        self, request: Request, descriptor: common_pb2.Descriptor, from_repository: str
    ) -> None:
        """Nothing."""

    async def blob_deleted(self, request: Request) -> None:
        """Nothing."""

    def manifest_pulled(self, request: Request, manifest: Manifest) -> None:
        """Nothing."""

    def blob_pulled(self, request: Request, blob: LinkedBlob) -> None:
        """Nothing."""
