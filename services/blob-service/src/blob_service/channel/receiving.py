"""Reading a request's body from a client into an upload."""

from __future__ import annotations

from blob_service.channel.body import Body
from blob_service.channel.chunked import Chunked
from blob_service.channel.framing import Counted, Framing
from blob_service.failures import parse_digest, storage_failures
from blob_service.servicers.blobs import descriptor_of
from blob_service.servicers.uploads import declared_length, upload_key, upload_message
from blob_service.uploads import Uploads
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2


def framing_of(work: blob_pb2.ReceiveLoan) -> Framing:
    """How the body of a ReceiveLoan is framed; raises RegistryError when it does not say."""
    if work.WhichOneof("framing") == "length" and work.length >= 0:
        return Counted(work.length)
    if work.chunked:
        return Chunked()
    raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": "the loan has no framing"})


async def receive(uploads: Uploads, work: blob_pb2.ReceiveLoan, body: Body) -> blob_pb2.Finished:
    """Append a body or commit with it, as Uploads.Append and Commit do. Raises what they and it raise."""
    if work.WhichOneof("upload") == "commit":
        header = work.commit.append
        digest = parse_digest(work.commit.digest)
        with storage_failures():
            blob = await uploads.commit(
                upload_key(header.key), header.offset, digest, body, length=declared_length(header)
            )
        return blob_pb2.Finished(moved=body.moved, committed=descriptor_of(blob))
    header = work.append
    with storage_failures():
        upload = await uploads.append(
            upload_key(header.key), header.offset, body, length=declared_length(header)
        )
    return blob_pb2.Finished(moved=body.moved, appended=upload_message(upload))
