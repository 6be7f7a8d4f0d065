"""The routes of uploads."""

from __future__ import annotations

from api_gateway.descriptors import fragments as f
from api_gateway.descriptors.model import Body, Method, Parameter, Request, Response, Route
from moorage.errors import ErrorCode

_OCTETS = Body("application/octet-stream")

_DIGEST_PARAMETER = Parameter(
    "digest", "string", "The digest of the whole blob.", format="<digest>", required=True
)
_ALGORITHM = Parameter(
    "digest-algorithm",
    "string",
    "The algorithm of the digest that the upload will be closed with, `sha256` or `sha512`: it "
    "saves reading the "
    "content twice.",
    format="<algorithm>",
)
_BAD_DIGEST = f.failure(
    400,
    ErrorCode.DIGEST_INVALID,
    "The digest is malformed, of an unsupported algorithm, or not that of the content. Nothing is stored.",
)
_BAD_ALGORITHM = f.failure(400, ErrorCode.DIGEST_INVALID, "`digest-algorithm` is not supported.")
_TOO_LARGE = f.failure(413, ErrorCode.SIZE_INVALID, "The blob is larger than `http.limits.uploadsize`.")
_STARTED = Response(
    status=202,
    description="An upload has begun.",
    headers=(f.UPLOAD_LOCATION, f.RANGE_ZERO, f.UPLOAD_UUID, f.NO_CONTENT),
)
_CREATED = Response(
    status=201,
    description="The blob is stored and linked into the repository.",
    headers=(f.BLOB_LOCATION, f.CONTENT_DIGEST, f.NO_CONTENT),
)

BLOB_UPLOAD = Route(
    name="blob-upload",
    path="/v2/{name}/blobs/uploads/",
    entity="Blob upload",
    description="Begins uploads.",
    parameters=(f.NAME,),
    methods=(
        Method(
            method="POST",
            description="Begin an upload, take a small blob whole, or mount a blob of another repository.",
            access=(f.PULL, f.PUSH, f.PULL_FROM_SOURCE),
            writes=True,
            requests=(
                Request(
                    name="Resumable upload",
                    query=(_ALGORITHM,),
                    successes=(_STARTED,),
                    failures=(_BAD_ALGORITHM, f.READ_ONLY, *f.ON_NAME),
                ),
                Request(
                    name="Whole blob",
                    description="Without a body this begins a resumable upload, unless the digest "
                    "is of no bytes.",
                    query=(_DIGEST_PARAMETER,),
                    body=_OCTETS,
                    successes=(_CREATED, _STARTED),
                    failures=(_BAD_DIGEST, _TOO_LARGE, f.READ_ONLY, *f.ON_NAME),
                ),
                Request(
                    name="Mount",
                    description=(
                        "Whenever the blob cannot be mounted, whatever the reason, a resumable "
                        "upload begins: the "
                        "answer does not tell what the source holds."
                    ),
                    query=(
                        Parameter(
                            "mount", "string", "The digest of the blob.", format="<digest>", required=True
                        ),
                        Parameter(
                            "from", "string", "The repository that links it.", format="<name>", required=True
                        ),
                    ),
                    successes=(_CREATED, _STARTED),
                    failures=(f.READ_ONLY, *f.ON_NAME),
                ),
            ),
        ),
    ),
)

_UNKNOWN = f.failure(
    404, ErrorCode.BLOB_UPLOAD_UNKNOWN, "The upload is finished, cancelled, expired, or never was."
)
_INVALID = f.failure(
    404,
    ErrorCode.BLOB_UPLOAD_INVALID,
    "`_state` is missing, not signed by this registry, or of another upload.",
)
_OUT_OF_PLACE = f.failure(
    416,
    ErrorCode.RANGE_INVALID,
    "The upload is not where the request believes: `Location` and `Range` say where it is, to go on "
    "from there.",
    f.UPLOAD_LOCATION,
    f.RANGE_STORED,
    f.UPLOAD_UUID,
)
_SIZE_INVALID = f.failure(
    400,
    ErrorCode.SIZE_INVALID,
    "`Content-Length` is not what `Content-Range` says: nothing was taken. Or the body is not as long as "
    "that: what came is kept, and `Location` and `Range` say where to go on.",
)
_ON_UPLOAD = (_UNKNOWN, *f.ON_NAME)
_ON_STATE = (_INVALID, _OUT_OF_PLACE, f.READ_ONLY, *_ON_UPLOAD)


def _status(method: str, description: str) -> Method:
    return Method(
        method=method,
        description=description,
        access=(f.PULL,),
        requests=(
            Request(
                name="Status",
                successes=(
                    Response(
                        status=204,
                        description="How far the upload got.",
                        headers=(f.UPLOAD_LOCATION, f.RANGE_STORED, f.UPLOAD_UUID),
                    ),
                ),
                failures=_ON_UPLOAD,
            ),
        ),
    )


_PATCH = Method(
    method="PATCH",
    description=(
        "Append the body. When the connection breaks, what has arrived is kept: ask for the status and go on."
    ),
    access=(f.PULL, f.PUSH),
    writes=True,
    requests=(
        Request(
            name="Append",
            description="Without `Content-Range` the body is appended at the place that `_state` names.",
            headers=(
                f.CONTENT_RANGE,
                Parameter(
                    "Content-Type",
                    "string",
                    "Absent, or `application/octet-stream`.",
                    format="application/octet-stream",
                ),
            ),
            query=(f.STATE,),
            body=_OCTETS,
            successes=(
                Response(
                    status=202,
                    description="The bytes are stored.",
                    headers=(f.UPLOAD_LOCATION, f.RANGE_STORED, f.UPLOAD_UUID, f.NO_CONTENT),
                ),
            ),
            failures=(
                _SIZE_INVALID,
                _TOO_LARGE,
                f.failure(415, ErrorCode.UNSUPPORTED, "The body is of another `Content-Type`."),
                *_ON_STATE,
            ),
        ),
    ),
)

_PUT = Method(
    method="PUT",
    description=(
        "Append the body, if there is one, and close the upload. A digest that cannot be read "
        "leaves the upload as it "
        "was; one that the content does not have drops it."
    ),
    access=(f.PULL, f.PUSH),
    writes=True,
    requests=(
        Request(
            name="Close",
            headers=(f.CONTENT_RANGE,),
            query=(f.STATE, _DIGEST_PARAMETER),
            body=_OCTETS,
            successes=(_CREATED,),
            failures=(_BAD_DIGEST, _SIZE_INVALID, _TOO_LARGE, *_ON_STATE),
        ),
    ),
)

_DELETE = Method(
    method="DELETE",
    description="Cancel an upload.",
    access=(f.DELETE,),
    writes=True,
    requests=(
        Request(
            name="Cancel",
            query=(f.STATE,),
            successes=(
                Response(
                    status=204, description="The upload and its data are gone.", headers=(f.UPLOAD_UUID,)
                ),
            ),
            failures=_ON_STATE,
        ),
    ),
)

BLOB_UPLOAD_CHUNK = Route(
    name="blob-upload-chunk",
    path="/v2/{name}/blobs/uploads/{uuid}",
    entity="Blob upload in progress",
    description=(
        "An upload. Its URL comes from the `Location` of the answer before; clients never put one together."
    ),
    parameters=(f.NAME, f.UUID),
    methods=(
        _status("GET", "Ask how far an upload got."),
        _status("HEAD", "As GET."),
        _PATCH,
        _PUT,
        _DELETE,
    ),
)
