"""Events of what the routes tell.

Source: distribution's `notifications` package, for which field holds what.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from api_gateway.events.message import Message
from api_gateway.events.publisher import Publisher
from api_gateway.events.pulls import Pulls
from api_gateway.events.references import references
from api_gateway.memory import LinkedBlob, Manifest
from api_gateway.request import Request
from moorage import context
from moorage.config import Configuration, join_host_port, split_host_port
from moorage.config.events import Events
from moorage.digest import Digest
from moorage.events import Action, Actor, Event, Source, Target
from moorage.events import Request as RequestRecord
from moorage.logging import INSTANCE_ID
from moorage.v1 import common_pb2

_OCTETS = "application/octet-stream"


class Bridge:
    """The listener that publishes events."""

    def __init__(self, publisher: Publisher, pulls: Pulls, source: Source, settings: Events) -> None:
        self._publisher = publisher
        self._pulls = pulls
        self._source = source
        self._references = settings.includereferences
        self._heads = not settings.ignorehead

    def admitted(self) -> AbstractContextManager[None]:
        """See `Listener.admitted`."""
        return self._publisher.admitted()

    async def manifest_pushed(
        self, request: Request, descriptor: common_pb2.Descriptor, tags: Sequence[str], content: bytes
    ) -> None:
        """An event for each tag, in their order; one without a tag when there are none."""
        refers_to = await references(content) if self._references else ()
        digest = descriptor.digest
        url = request.urls.manifest(request.name, digest)
        await self._change(
            request,
            "push",
            *(
                Target(
                    request.name,
                    media_type=descriptor.media_type,
                    digest=digest,
                    size=descriptor.size,
                    url=url,
                    tag=tag,
                    references=refers_to,
                )
                for tag in tags or ("",)
            ),
        )

    async def manifest_deleted(self, request: Request, tags: Sequence[str]) -> None:
        """By digest: an event for the manifest, then one for each tag that went with it. By tag: one."""
        name, reference = request.name, request.reference
        if isinstance(reference, Digest):
            removed = [Target(name, digest=str(reference)), *(Target(name, tag=tag) for tag in tags)]
        else:
            removed = [Target(name, tag=reference)]
        await self._change(request, "delete", *removed)

    async def blob_pushed(self, request: Request, descriptor: common_pb2.Descriptor) -> None:
        """One event."""
        await self._change(request, "push", _blob(request, descriptor.digest, descriptor.size))

    async def blob_mounted(
        self, request: Request, descriptor: common_pb2.Descriptor, from_repository: str
    ) -> None:
        """One event."""
        target = _blob(request, descriptor.digest, descriptor.size, from_repository)
        await self._change(request, "mount", target)

    async def blob_deleted(self, request: Request) -> None:
        """One event."""
        await self._change(request, "delete", Target(request.name, digest=str(request.digest)))

    def manifest_pulled(self, request: Request, manifest: Manifest) -> None:
        """One event, soon."""
        if not self._publishes_pull(request):
            return
        reference = request.reference
        target = Target(
            request.name,
            media_type=manifest.media_type,
            digest=manifest.digest,
            size=len(manifest.content),
            url=request.urls.manifest(request.name, manifest.digest),
            tag="" if isinstance(reference, Digest) else reference,
        )
        event = self._event(request, "pull", target)
        self._pulls.add(event, manifest.content if self._references else b"")

    def blob_pulled(self, request: Request, blob: LinkedBlob) -> None:
        """One event, soon."""
        if self._publishes_pull(request):
            target = _blob(request, blob.digest, blob.size)
            self._pulls.add(self._event(request, "pull", target))

    def _publishes_pull(self, request: Request) -> bool:
        return (self._heads or request.method != "HEAD") and self._pulls.has_room()

    async def _change(self, request: Request, action: Action, *targets: Target) -> None:
        await self._publisher.publish(
            [Message.of(self._event(request, action, target)) for target in targets]
        )

    def _event(self, request: Request, action: Action, target: Target) -> Event:
        return Event(
            id=context.new_request_id(),  # a random UUID, like that of a request
            timestamp=time.time_ns(),
            action=action,
            target=target,
            request=_record(request),
            actor=Actor(request.record.user),
            source=self._source,
        )


def source_of(config: Configuration) -> Source:
    """The process as the source of events: its host's name with the port that clients reach, and its id."""
    host = socket.gethostname()
    if config.http.net == "tcp":
        host = join_host_port(host, split_host_port(config.http.addr)[1])
    return Source(host, INSTANCE_ID)


def _blob(request: Request, digest: str, size: int, from_repository: str = "") -> Target:
    return Target(
        request.name,
        media_type=_OCTETS,
        digest=digest,
        size=size,
        url=request.urls.blob(request.name, digest),
        from_repository=from_repository,
    )


def _record(request: Request) -> RequestRecord:
    headers = request.headers
    return RequestRecord(
        id=context.request_id.get(),
        addr=_address(request),
        host=_text(headers.get(b"host")),
        method=request.method,
        user_agent=_text(headers.get(b"user-agent")),
    )


def _address(request: Request) -> str:
    """The connection's other end, with its port; the client's address alone, where a proxy forwarded it."""
    record, peer = request.record, request.scope["client"]
    if peer is None or record.client != record.peer:
        return record.client
    return join_host_port(peer[0], peer[1]) if peer[0] else ""


def _text(value: str | None) -> str:
    """A header's value, read as UTF-8 as far as it is that."""
    return "" if value is None else value.encode("latin-1").decode("utf-8", "replace")
