"""Look-ups: what gateways ask of blobs and manifests, one at a time or many in one call."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from metadata_service.leases import Leases, Watch
from metadata_service.linked_blobs import LinkedBlobs
from metadata_service.manifests.store import Manifests
from metadata_service.requests import digest_of, reference_of, repository_of
from moorage.concurrency import for_each
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import error_details
from moorage.rpc.client import MAX_MESSAGE_BYTES
from moorage.v1 import metadata_pb2

log = structlog.get_logger("metadata_service.resolver")

# metadata.proto, ResolveRequest.
MAX_QUERIES = 256

# Look-ups of one call that run at a time. Each holds a manifest at most.
_CONCURRENCY = 16

# What a reply's answers may take. The rest of the message is their framing: a few bytes for each.
_REPLY_BYTES = MAX_MESSAGE_BYTES - 64 * 1024

Query = metadata_pb2.ResolveRequest.Query
Answer = metadata_pb2.ResolveResponse.Answer


class Lookups:
    """Single look-ups, from message to message. Both raise RegistryError."""

    def __init__(self, blobs: LinkedBlobs, manifests: Manifests) -> None:
        self._blobs = blobs
        self._manifests = manifests

    async def blob(self, request: metadata_pb2.StatBlobRequest) -> metadata_pb2.StatBlobResponse:
        """The descriptor of a blob that the repository links."""
        repository = repository_of(request.repository)
        descriptor = await self._blobs.stat(repository, digest_of(request.digest))
        return metadata_pb2.StatBlobResponse(descriptor=descriptor.as_message())

    async def manifest(self, request: metadata_pb2.GetManifestRequest) -> metadata_pb2.GetManifestResponse:
        """The manifest, without content where the caller wants none or holds it already."""
        repository = repository_of(request.repository)
        reference = reference_of(request.reference)
        manifest = await self._manifests.get(repository, reference, frozenset(request.accept))
        not_modified = str(manifest.digest) in request.known
        return metadata_pb2.GetManifestResponse(
            descriptor=manifest.descriptor(),
            content=b"" if not_modified or request.descriptor_only else manifest.content,
            not_modified=not_modified,
        )


class Resolver:
    """Many look-ups in one call, and which of their answers the caller's lease covers."""

    def __init__(self, lookups: Lookups, leases: Leases) -> None:
        self._lookups = lookups
        self._leases = leases

    async def resolve(self, request: metadata_pb2.ResolveRequest) -> metadata_pb2.ResolveResponse:
        """The answers in the order of the queries; one that fails does not fail the others.

        Answers that the reply has no room for are postponed. Raises RegistryError (SIZE_INVALID) for too many
        queries.
        """
        queries = request.queries
        if len(queries) > MAX_QUERIES:
            raise RegistryError(ErrorCode.SIZE_INVALID, {"queries": len(queries), "limit": MAX_QUERIES})
        # Before anything is read: a change that begins from now on disturbs the watch.
        watches = [self._leases.watch(_repository(query)) for query in queries]
        answers: Sequence[Answer] = ()
        try:
            answers = await self._answers(queries)
        finally:
            self._conclude(request.lease, watches, answers)
        return metadata_pb2.ResolveResponse(answers=answers)

    async def _answers(self, queries: Sequence[Query]) -> list[Answer]:
        room = _Room()

        async def answer(query: Query) -> Answer:
            if room.is_full:
                return _postponed()
            found = await self._answer(query)
            return found if room.take(found) else _postponed()

        return await for_each(answer, queries, limit=_CONCURRENCY)

    async def _answer(self, query: Query) -> Answer:
        try:
            match query.WhichOneof("query"):
                case "blob":
                    return Answer(blob=await self._lookups.blob(query.blob))
                case "manifest":
                    return Answer(manifest=await self._lookups.manifest(query.manifest))
            return _failure(RegistryError(ErrorCode.UNSUPPORTED, {"reason": "a query without a look-up"}))
        except RegistryError as error:
            return _failure(error)
        except Exception:  # whatever is wrong with one look-up must not fail the others
            log.exception("unexpected error in a look-up")
            return _failure(RegistryError(ErrorCode.UNKNOWN))

    def _conclude(self, lease: str, watches: Sequence[Watch], answers: Sequence[Answer]) -> None:
        """End the watches in one stretch, just before the reply, and say which answers may be kept."""
        for number, watch in enumerate(watches):
            if number < len(answers):
                # Nothing negative is kept: a push would have to revoke it without knowing who asked.
                keep = answers[number].WhichOneof("answer") in {"blob", "manifest"}
                answers[number].held = self._leases.conclude(watch, lease, keep=keep)
            else:
                self._leases.conclude(watch, lease, keep=False)


class _Room:
    """The bytes that a reply still has room for."""

    def __init__(self) -> None:
        self._left = _REPLY_BYTES
        self.is_full = False

    def take(self, answer: Answer) -> bool:
        """Whether the answer fits. From the first one that does not, nothing more is read for this reply."""
        size = answer.ByteSize()
        if size > self._left:
            self.is_full = True
            return False
        self._left -= size
        return True


def _repository(query: Query) -> str:
    return query.manifest.repository if query.WhichOneof("query") == "manifest" else query.blob.repository


def _failure(error: RegistryError) -> Answer:
    return Answer(failure=metadata_pb2.ResolveResponse.Failure(errors=error_details(error)))


def _postponed() -> Answer:
    return Answer(postponed=metadata_pb2.ResolveResponse.Postponed())
