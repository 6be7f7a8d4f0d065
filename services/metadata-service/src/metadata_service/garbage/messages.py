"""What a collection tells, as messages."""

from __future__ import annotations

from metadata_service.garbage.events import Eligible, Entered, Event, Kind, Marked, Missing, Summary
from moorage.v1.metadata_pb2 import CollectGarbageResponse

_KINDS = {
    Kind.MANIFEST: CollectGarbageResponse.KIND_MANIFEST,
    Kind.BLOB: CollectGarbageResponse.KIND_BLOB,
    Kind.LINK: CollectGarbageResponse.KIND_LINK,
}


def as_message(event: Event) -> CollectGarbageResponse:
    """The message of an event."""
    match event:
        case Entered(repository):
            return CollectGarbageResponse(repository=repository)
        case Marked(kind, repository, digest):
            return CollectGarbageResponse(marked=_item(kind, repository, str(digest)))
        case Eligible(kind, repository, digest, size):
            return CollectGarbageResponse(eligible=_item(kind, repository, str(digest), size))
        case Missing(repository, digest):
            return CollectGarbageResponse(missing=_item(Kind.MANIFEST, repository, str(digest)))
        case Summary():
            return CollectGarbageResponse(
                summary=CollectGarbageResponse.Summary(
                    repositories=event.repositories,
                    marked=event.marked,
                    blobs=event.blobs,
                    manifests=event.manifests,
                    links=event.links,
                    bytes=event.bytes,
                )
            )


def _item(kind: Kind, repository: str, digest: str, size: int = 0) -> CollectGarbageResponse.Item:
    return CollectGarbageResponse.Item(kind=_KINDS[kind], repository=repository, digest=digest, size=size)
