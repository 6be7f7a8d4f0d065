"""The blob route."""

from __future__ import annotations

from api_gateway.descriptors import fragments as f
from api_gateway.descriptors.model import Body, Header, Method, Request, Response, Route
from moorage.errors import ErrorCode

_OCTETS = Header("Content-Type", "application/octet-stream", "")
_CACHE = Header("Cache-Control", "max-age=31536000", "Content under a digest never changes.")
_ACCEPT_RANGES = Header("Accept-Ranges", "bytes", "")
_UNKNOWN = f.failure(404, ErrorCode.BLOB_UNKNOWN, "The repository does not link such a blob.")
_UNSATISFIABLE = f.failure(
    416,
    ErrorCode.RANGE_INVALID,
    "The ranges are malformed, or none lies within the blob.",
    Header("Content-Range", "bytes */<size>", "The blob's size."),
)
_ON_DIGEST = (_UNKNOWN, f.DIGEST_INVALID, *f.ON_NAME)
_NOT_TAKEN = Response(status=412, description="`If-Match` does not list the blob.", headers=(f.NO_CONTENT,))

_REDIRECT = Response(
    status=307,
    description="The storage backend serves the client itself, ranges included.",
    headers=(
        Header("Location", "<url>", "A signed URL that works for a while. Send no credentials there."),
        f.CONTENT_DIGEST,
        Header("Cache-Control", "no-store", "The URL is for this request."),
        f.NO_CONTENT,
    ),
)


def _read(method: str, description: str, body: Body | None) -> Method:
    part_body = Body("application/octet-stream") if body is not None else None
    conditional = (f.IF_NONE_MATCH, f.IF_MATCH)
    not_modified = Response(
        status=304,
        description="The client holds the blob already.",
        headers=(f.CONTENT_DIGEST, f.ETAG, _CACHE),
    )
    return Method(
        method=method,
        description=description,
        access=(f.PULL,),
        requests=(
            Request(
                name="Whole blob",
                headers=conditional,
                successes=(
                    Response(
                        status=200,
                        description="The blob.",
                        headers=(
                            _OCTETS,
                            f.CONTENT_LENGTH,
                            f.CONTENT_DIGEST,
                            f.ETAG,
                            _CACHE,
                            _ACCEPT_RANGES,
                        ),
                        body=body,
                    ),
                    not_modified,
                    _REDIRECT,
                ),
                failures=(_NOT_TAKEN, *_ON_DIGEST),
            ),
            Request(
                name="Ranges",
                description=(
                    "Ranges that add up to more than the blob, or of another unit than bytes, are ignored: "
                    "the whole blob is served."
                ),
                headers=(f.RANGE, f.IF_RANGE, *conditional),
                successes=(
                    Response(
                        status=206,
                        description="The bytes; several ranges come as `multipart/byteranges`.",
                        headers=(
                            Header(
                                "Content-Range",
                                "bytes <first>-<last>/<size>",
                                "Which bytes; absent for several.",
                            ),
                            f.CONTENT_LENGTH,
                            f.CONTENT_DIGEST,
                            f.ETAG,
                            _CACHE,
                            _ACCEPT_RANGES,
                        ),
                        body=part_body,
                    ),
                    _REDIRECT,
                ),
                failures=(_UNSATISFIABLE, *_ON_DIGEST),
            ),
        ),
    )


BLOB = Route(
    name="blob",
    path="/v2/{name}/blobs/{digest}",
    entity="Blob",
    description="A blob, through a repository that links it.",
    parameters=(f.NAME, f.DIGEST),
    methods=(
        _read("GET", "Fetch a blob.", Body("application/octet-stream")),
        _read("HEAD", "As GET, without the body: whether the repository links the blob.", None),
        Method(
            method="DELETE",
            description="Remove the repository's link to a blob. Other repositories keep theirs.",
            access=(f.DELETE,),
            writes=True,
            requests=(
                Request(
                    name="Delete",
                    successes=(
                        Response(status=202, description="The link is gone.", headers=(f.NO_CONTENT,)),
                    ),
                    failures=(
                        f.failure(
                            405,
                            ErrorCode.UNSUPPORTED,
                            "`storage.delete.enabled` is off, or the registry is read-only.",
                            f.ALLOW,
                        ),
                        *_ON_DIGEST,
                    ),
                ),
            ),
        ),
    ),
)
