"""Looking up manifests and links: in memory, else in the metadata service.

The look-ups of one tick of the event loop go as one call, and equal ones among them as one query. A look-up
never joins one that was sent already: that one may be older than a write which has been acknowledged since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from api_gateway import metrics
from api_gateway.memory import BlobKey, LinkedBlob, Manifest, ManifestKey, Memory, Watch
from moorage.concurrency import for_each
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Channel, error_of, unary
from moorage.rpc.readiness import Readiness
from moorage.v1 import common_pb2, metadata_pb2, metadata_pb2_grpc

log = structlog.get_logger("api_gateway.lookups")

# Look-ups of one call, at most. Source: metadata.proto.
_MOST_QUERIES = 256

# Bytes of names and media types in one call, about, at most: a client may accept a megabyte of media types.
_MOST_BYTES = 4 << 20

# Postponed look-ups that are asked for at once: their answers are large.
_POSTPONED_AT_ONCE = 2

_Query = metadata_pb2.ResolveRequest.Query
_Answer = metadata_pb2.ResolveResponse.Answer


class _Lookup:
    """One query, and everybody who waits for its answer."""

    __slots__ = ("key", "waiting")

    def __init__(self, key: ManifestKey | BlobKey) -> None:
        self.key = key
        self.waiting: list[asyncio.Future[Any]] = []

    @property
    def query(self) -> _Query:
        return _blob_query(self.key) if len(self.key) == 2 else _manifest_query(self.key)

    def entry(self, answer: _Answer) -> Manifest | LinkedBlob | None:
        """What the answer says; None if it answers another question."""
        kind, key = answer.WhichOneof("answer"), self.key
        if len(key) == 2:
            return _linked_blob(key, answer.blob.descriptor) if kind == "blob" else None
        return _manifest(key, answer.manifest) if kind == "manifest" else None

    def succeed(self, entry: Manifest | LinkedBlob) -> None:
        for each in self.waiting:
            if not each.done():
                each.set_result(entry)

    def fail(self, error: RegistryError) -> None:
        for each in self.waiting:
            if not each.done():
                # Each is raised somewhere else.
                each.set_exception(RegistryError.of(error.entries))


class _Batch:
    """Look-ups that go as one call."""

    def __init__(self) -> None:
        self.lookups: dict[ManifestKey | BlobKey, _Lookup] = {}
        self._bytes = 0

    def add(self, lookup: _Lookup) -> None:
        self.lookups[lookup.key] = lookup
        self._bytes += sum(map(len, lookup.key))

    @property
    def is_full(self) -> bool:
        return len(self.lookups) >= _MOST_QUERIES or self._bytes >= _MOST_BYTES


class Lookups:
    """Finds what repositories hold; `timeout` and `grace` are as MetadataClient has them.

    All raise RegistryError, as `metadata.proto` says for StatBlob and GetManifest.
    """

    def __init__(self, channel: Channel, memory: Memory, *, timeout: float, grace: float) -> None:
        self._stub: metadata_pb2_grpc.MetadataAsyncStub = metadata_pb2_grpc.MetadataStub(channel)
        self._readiness = Readiness(channel, grace=grace)
        self._memory = memory
        self._timeout = timeout
        # Takes look-ups until it is sent.
        self._open: _Batch | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def manifest(self, repository: str, reference: str, accept: str) -> Manifest:
        """A manifest, by tag or by digest, that a client of these media types (comma-separated) accepts."""
        key = repository, reference, accept
        kept = self._memory.manifest(key)
        if kept is not None:
            metrics.MANIFEST_HITS.inc()
            return kept
        metrics.MANIFEST_MISSES.inc()
        found: Manifest = await self._ask(key)
        return found

    async def blob(self, repository: str, digest: str) -> LinkedBlob:
        """A blob that the repository links."""
        key = repository, digest
        kept = self._memory.blob(key)
        if kept is not None:
            metrics.LINK_HITS.inc()
            return kept
        metrics.LINK_MISSES.inc()
        found: LinkedBlob = await self._ask(key)
        return found

    async def close(self) -> None:
        """Give up the calls under way."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _ask(self, key: ManifestKey | BlobKey) -> asyncio.Future[Any]:
        """Put a look-up, or one who waits for it, into the batch that is about to go."""
        batch = self._open
        if batch is None:
            batch = self._open = _Batch()
            # It runs in the next tick, when all who run in this one have come here. The call carries the
            # first one's request id.
            call = asyncio.create_task(self._send(batch))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        lookup = batch.lookups.get(key)
        if lookup is None:
            lookup = _Lookup(key)
            batch.add(lookup)
            if batch.is_full:
                self._open = None
        waiting = asyncio.get_running_loop().create_future()
        lookup.waiting.append(waiting)
        return waiting

    async def _send(self, batch: _Batch) -> None:
        try:
            await self._readiness.wait()
        finally:
            if self._open is batch:
                self._open = None
        lookups = list(batch.lookups.values())
        postponed = await self._resolve(lookups)
        await for_each(self._resolve_alone, postponed, limit=_POSTPONED_AT_ONCE)

    async def _resolve_alone(self, lookup: _Lookup) -> None:
        if await self._resolve([lookup]):
            log.error("the metadata service postpones a look-up that stands alone", key=lookup.key)
            lookup.fail(RegistryError(ErrorCode.UNKNOWN))

    async def _resolve(self, lookups: Sequence[_Lookup]) -> list[_Lookup]:
        """Ask, keep what may be kept, and tell those who wait; the look-ups that were postponed."""
        metrics.LOOKUPS_PER_CALL.observe(len(lookups))
        try:
            with self._memory.watching() as watch:
                request = metadata_pb2.ResolveRequest(
                    lease=watch.lease, queries=[lookup.query for lookup in lookups]
                )
                response = await unary(self._stub.Resolve, request, timeout=self._timeout)
                answered = list(zip(lookups, response.answers, strict=True))
                for lookup, answer in answered:
                    self._take(lookup, answer, watch)
            return [lookup for lookup, answer in answered if answer.HasField("postponed")]
        except RegistryError as error:
            _fail(lookups, error)
        except asyncio.CancelledError:
            _fail(lookups, RegistryError(ErrorCode.UNAVAILABLE, "the gateway is stopping"))
            raise
        except Exception:
            log.exception("unexpected error in a look-up")
            _fail(lookups, RegistryError(ErrorCode.UNKNOWN))
        return []

    def _take(self, lookup: _Lookup, answer: _Answer, watch: Watch) -> None:
        entry = lookup.entry(answer)
        if entry is not None:
            if answer.held:
                self._memory.keep(watch, lookup.key, entry)
            lookup.succeed(entry)
        elif not answer.HasField("postponed"):
            lookup.fail(error_of(answer.failure.errors))


def _fail(lookups: Iterable[_Lookup], error: RegistryError) -> None:
    for lookup in lookups:
        lookup.fail(error)


def _manifest_query(key: ManifestKey) -> _Query:
    repository, reference, accept = key
    named = metadata_pb2.Reference
    return _Query(
        manifest=metadata_pb2.GetManifestRequest(
            repository=repository,
            reference=named(digest=reference) if ":" in reference else named(tag=reference),
            accept=accept.split(",") if accept else (),
        )
    )


def _manifest(key: ManifestKey, response: metadata_pb2.GetManifestResponse) -> Manifest:
    # By digest, the client's own digest is answered, of whatever algorithm it is.
    digest = key[1] if ":" in key[1] else response.descriptor.digest
    return Manifest.of(digest, response.descriptor.media_type, response.content)


def _blob_query(key: BlobKey) -> _Query:
    repository, digest = key
    return _Query(blob=metadata_pb2.StatBlobRequest(repository=repository, digest=digest))


def _linked_blob(key: BlobKey, descriptor: common_pb2.Descriptor) -> LinkedBlob:
    return LinkedBlob.of(key[1], descriptor.digest, descriptor.size)
