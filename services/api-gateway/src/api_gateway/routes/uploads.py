"""Uploads: a blob on its way in.

The upload's place is in its URL, signed (`state.py`): the offset that the client was last told is the one
that the blob service is asked to go on from, so of two requests with one URL one wins.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NoReturn

import structlog

from api_gateway.access.interface import REPOSITORY, AccessRecord
from api_gateway.clients.metadata import MetadataClient
from api_gateway.clients.uploads import Upload, UploadsClient
from api_gateway.connection import LentBody
from api_gateway.events import Listener
from api_gateway.headers import HeaderList, field
from api_gateway.limits import refused
from api_gateway.refusal import RefusalError
from api_gateway.request import Request
from api_gateway.state import LARGEST_OFFSET, InvalidStateError, StateSigner, UploadState
from moorage.digest import SUPPORTED_ALGORITHMS, Digest, InvalidDigestError
from moorage.errors import ErrorCode, RegistryError
from moorage.reference import InvalidReferenceError, parse_name

log = structlog.get_logger("api_gateway.uploads")

# `<first>-<last>`, both inclusive, without a unit. Source: OCI distribution specification 1.1, "Pushing a
# blob in chunks".
_CONTENT_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)

_OCTETS = "application/octet-stream"


class _Body:
    """A request's body as `UploadsClient` takes it: to be lent, or in pieces."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def length(self) -> int | None:
        """See `UploadBody.length`."""
        return None if b"transfer-encoding" in self._request.headers else self._request.content_length

    @property
    def can_lend(self) -> bool:
        """See `UploadBody.can_lend`."""
        return self._request.can_lend_body

    def lend(self) -> AbstractAsyncContextManager[LentBody]:
        """See `UploadBody.lend`."""
        return self._request.lend_body()

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """See `UploadBody.pieces`."""
        return self._request.body()


class UploadRoutes:
    """Takes uploads. How large one may become is the blob service's to say, which counts the bytes."""

    def __init__(
        self, metadata: MetadataClient, uploads: UploadsClient, signer: StateSigner, listener: Listener
    ) -> None:
        self._metadata = metadata
        self._uploads = uploads
        self._signer = signer
        self._listener = listener

    async def post(self, request: Request) -> None:
        """Mount a blob from another repository, take a blob whole, or start an upload."""
        algorithm = _algorithm(request)
        if await self._mount(request):
            return
        given = request.query("digest")
        if given is not None and request.query("mount") is None:
            digest = _parse_digest(given)
            if request.has_body or digest == Digest.of(b"", digest.algorithm):
                await self._take_whole(request, digest)
                return
            algorithm = algorithm or digest.algorithm
        upload = await self._uploads.start(request.name, algorithm)
        await request.respond(202, self._place(request, upload))

    async def get(self, request: Request) -> None:
        """Say how far an upload got."""
        upload = await self._uploads.status(request.name, request.upload_id)
        await request.respond(204, self._place(request, upload))

    async def patch(self, request: Request) -> None:
        """Append the body."""
        state = self._state(request)
        if request.content_type not in ("", _OCTETS):
            raise RegistryError(
                ErrorCode.UNSUPPORTED,
                {"contentType": request.content_type[:100]},
                message=f"the body must be {_OCTETS}",
                http_status=415,
            )
        length = await self._checked_length(request, state)
        body = _Body(request)
        try:
            with _size_counted(request):
                upload = await self._uploads.append(
                    request.name, request.upload_id, state.offset, length, body
                )
        except RegistryError as error:
            self._raise_with_place(request, state, error)
        await request.respond(202, self._place(request, upload))

    async def put(self, request: Request) -> None:
        """Append the body, if there is one, and make a blob of the upload."""
        state = self._state(request)
        digest = _parse_digest(request.query("digest"))
        length = await self._checked_length(request, state)
        try:
            await self._commit(request, request.upload_id, state.offset, length, digest)
        except RegistryError as error:
            self._raise_with_place(request, state, error)

    async def delete(self, request: Request) -> None:
        """Drop an upload."""
        state = self._state(request)
        try:
            await self._uploads.cancel(request.name, request.upload_id, state.offset)
        except RegistryError as error:
            self._raise_with_place(request, state, error)
        await request.respond(204, [field(b"docker-upload-uuid", request.upload_id)])

    # POST

    async def _mount(self, request: Request) -> bool:
        """Mount as `mount` and `from` ask; False when that is not to be had, for whatever reason."""
        digest, source = request.query("mount"), request.query("from")
        if not digest or not source:
            return False
        try:
            parsed, source = Digest.parse(digest), parse_name(source)
            if not request.grant.allows(AccessRecord(REPOSITORY, source, "pull")):
                return False
        except (InvalidDigestError, InvalidReferenceError):
            return False
        with self._listener.admitted():
            try:
                descriptor = await self._metadata.mount_blob(request.name, source, str(parsed))
            except RegistryError as error:
                # An upload is always an answer, and says nothing about the source.
                log.debug("blob not mounted", error=str(error))
                return False
            await self._listener.blob_mounted(request, descriptor, source)
        await self._respond_created(request, parsed)
        return True

    async def _take_whole(self, request: Request, digest: Digest) -> None:
        upload = await self._uploads.start(request.name, digest.algorithm)
        await self._commit(request, upload.upload_id, 0, _body_length(request), digest)

    # PATCH, PUT, DELETE

    def _state(self, request: Request) -> UploadState:
        """What the URL's `_state` says of this upload; BLOB_UPLOAD_INVALID when it does not belong to it."""
        try:
            state = self._signer.verify(request.query("_state") or "")
        except InvalidStateError as error:
            raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": f"_state: {error}"}) from error
        if state.repository != request.name or state.upload_id != request.upload_id:
            raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": "_state: of another upload"})
        return state

    async def _checked_length(self, request: Request, state: UploadState) -> int | None:
        """The bytes of the body, as far as the client says, checked against its Content-Range."""
        length = _body_length(request)
        header = request.headers.get(b"content-range")
        if header is None:
            return length
        match = _CONTENT_RANGE.fullmatch(header.strip())
        first, last = (int(match[1]), int(match[2])) if match else (-1, -1)
        if match is None or first > last or first != state.offset:
            await self._raise_range_invalid(request, header)
        if length is not None and length != last - first + 1:
            raise RegistryError(
                ErrorCode.SIZE_INVALID, {"contentLength": length, "rangeLength": last - first + 1}
            )
        return last - first + 1

    async def _raise_range_invalid(self, request: Request, content_range: str) -> NoReturn:
        # Asked of the service, so that the client is told where to go on, whatever its URL says.
        upload = await self._uploads.status(request.name, request.upload_id)
        error = RegistryError(
            ErrorCode.RANGE_INVALID, {"contentRange": content_range[:100], "offset": upload.offset}
        )
        raise RefusalError.wrap(error, self._place(request, upload))

    async def _commit(
        self,
        request: Request,
        upload_id: str,
        offset: int,
        length: int | None,
        digest: Digest,
    ) -> None:
        """Make a blob of the upload (the commit for the bytes) and link it (the commit for the name)."""
        with self._listener.admitted():
            with _size_counted(request):
                descriptor = await self._uploads.commit(
                    request.name, upload_id, offset, length, str(digest), _Body(request)
                )
            aliases = [str(digest)] if descriptor.digest != str(digest) else []
            await self._metadata.link_blob(request.name, descriptor, aliases)
            await self._listener.blob_pushed(request, descriptor)
        await self._respond_created(request, digest)

    # Answers

    async def _respond_created(self, request: Request, digest: Digest) -> None:
        headers = [
            field(b"location", request.urls.blob(request.name, str(digest))),
            field(b"docker-content-digest", str(digest)),
        ]
        await request.respond(201, headers)

    def _place(self, request: Request, upload: Upload) -> HeaderList:
        """Where an upload stands, and the URL to go on with."""
        state = UploadState(request.name, upload.upload_id, upload.offset, upload.started_at)
        location = request.urls.upload(request.name, upload.upload_id, self._signer.sign(state))
        # The range is inclusive, so an empty upload looks like one of one byte. Clients expect it so.
        last = max(upload.offset - 1, 0)
        return [
            field(b"location", location),
            field(b"range", f"0-{last}"),
            field(b"docker-upload-uuid", upload.upload_id),
        ]

    def _raise_with_place(self, request: Request, state: UploadState, error: RegistryError) -> NoReturn:
        """Raise the error; one that tells how far the upload got, with the place to go on from."""
        detail = error.entries[0].detail
        offset = detail.get("offset") if isinstance(detail, dict) else None
        if not isinstance(offset, int):
            raise error
        upload = Upload(request.name, request.upload_id, offset, state.started_at)
        raise RefusalError.wrap(error, self._place(request, upload)) from error


@contextmanager
def _size_counted(request: Request) -> Iterator[None]:
    """Count a refusal because of `http.limits.uploadsize`, which the blob service sees to."""
    try:
        yield
    except RegistryError as error:
        if error.http_status == 413:
            refused("uploadsize", request.record.client)
        raise


def _body_length(request: Request) -> int | None:
    """The bytes of the body; None when the client does not say."""
    length = request.content_length if request.has_body else 0
    if length is not None and length > LARGEST_OFFSET:
        raise RegistryError(ErrorCode.SIZE_INVALID, {"limit": LARGEST_OFFSET}, http_status=413)
    return length


def _parse_digest(text: str | None) -> Digest:
    if not text:
        raise RegistryError(ErrorCode.DIGEST_INVALID, {"reason": "the digest parameter is missing"})
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise RegistryError(ErrorCode.DIGEST_INVALID, {"digest": text[:300], "reason": str(error)}) from error


def _algorithm(request: Request) -> str:
    """The `digest-algorithm` that the client means to commit with; "" when it does not say."""
    algorithm = request.query("digest-algorithm")
    if not algorithm:
        return ""
    if algorithm not in SUPPORTED_ALGORITHMS:
        raise RegistryError(
            ErrorCode.DIGEST_INVALID, {"algorithm": algorithm[:40], "supported": list(SUPPORTED_ALGORITHMS)}
        )
    return algorithm
