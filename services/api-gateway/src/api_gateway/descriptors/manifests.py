"""The manifest route."""

from __future__ import annotations

from api_gateway.descriptors import fragments as f
from api_gateway.descriptors.model import Body, Header, Method, Parameter, Request, Response, Route
from moorage.errors import ErrorCode

_TAG_INVALID = f.failure(400, ErrorCode.TAG_INVALID, "The tag does not match the grammar.")
_ON_REFERENCE = (_TAG_INVALID, f.DIGEST_INVALID, *f.ON_NAME)
_CONTENT_TYPE = Header("Content-Type", "<media type>", "The media type that the manifest was pushed with.")
_UNKNOWN = f.failure(
    404,
    ErrorCode.MANIFEST_UNKNOWN,
    "There is no such manifest or tag, or none of a media type that the client accepts.",
)


def _read(method: str, description: str, body: Body | None) -> Method:
    return Method(
        method=method,
        description=description,
        access=(f.PULL,),
        requests=(
            Request(
                name="Manifest",
                headers=(f.ACCEPT, f.IF_NONE_MATCH),
                successes=(
                    Response(
                        status=200,
                        description="The manifest, byte for byte as it was pushed.",
                        headers=(_CONTENT_TYPE, f.CONTENT_LENGTH, f.CONTENT_DIGEST, f.ETAG),
                        body=body,
                    ),
                    Response(
                        status=304,
                        description="The client holds the manifest already.",
                        headers=(f.CONTENT_DIGEST, f.ETAG),
                    ),
                ),
                failures=(_UNKNOWN, *_ON_REFERENCE),
            ),
        ),
    )


_DENIED = f.failure(
    403,
    ErrorCode.DENIED,
    "`policy.repository.classes` does not allow manifests of this class; or a tag is there that names "
    "another manifest and may not be moved: it is one of `policy.tags.immutable`, or the token is for "
    "`create` alone.",
)
_INVALID = f.failure(
    400,
    ErrorCode.MANIFEST_INVALID,
    "The manifest cannot be parsed, is of an unknown or another media type than its `Content-Type`, "
    "is ambiguous, or "
    "breaks a rule of `validation`.",
)
_BLOB_UNKNOWN = f.failure(
    400,
    ErrorCode.MANIFEST_BLOB_UNKNOWN,
    "The repository lacks content that the manifest refers to. One error for each, with the digest "
    "as its detail.",
)
_TOO_LARGE = f.failure(
    413, ErrorCode.MANIFEST_INVALID, "The manifest is larger than `http.limits.manifestsize`."
)
_BAD_DIGEST = f.failure(
    400, ErrorCode.DIGEST_INVALID, "The digest is malformed, or not that of the body. Nothing is stored."
)
_MEDIA_TYPE = Parameter(
    "Content-Type", "string", "The manifest's media type.", format="<media type>", required=True
)
_LOCATION = Header("Location", "<origin>/v2/<name>/manifests/<digest>", "The manifest by digest.")
_SUBJECT = Header(
    "OCI-Subject",
    "<digest>",
    "The digest of the manifest's `subject`, when it has one: it is now listed as a referrer.",
)
_WRITE_FAILURES = (_INVALID, _BLOB_UNKNOWN, _TOO_LARGE, _DENIED, f.READ_ONLY)

_PUT = Method(
    method="PUT",
    description=(
        "Store a manifest. What it refers to must be in the repository: blobs pushed or mounted, "
        "manifests pushed. "
        "The manifest's tag is set last, whole or not at all."
    ),
    access=(f.PULL, f.PUSH),
    writes=True,
    requests=(
        Request(
            name="Push by tag",
            headers=(_MEDIA_TYPE,),
            body=Body("<media type>", "<manifest>"),
            successes=(
                Response(
                    status=201,
                    description="The manifest is stored and the tag names it.",
                    headers=(_LOCATION, f.CONTENT_DIGEST, _SUBJECT, f.NO_CONTENT),
                ),
            ),
            failures=(_TAG_INVALID, *_WRITE_FAILURES, *f.ON_NAME),
        ),
        Request(
            name="Push by digest",
            headers=(_MEDIA_TYPE,),
            query=(
                Parameter("tag", "string", "A tag to set on the manifest; up to 100 times.", format="<tag>"),
            ),
            body=Body("<media type>", "<manifest>"),
            successes=(
                Response(
                    status=201,
                    description="The manifest is stored.",
                    headers=(
                        _LOCATION,
                        f.CONTENT_DIGEST,
                        _SUBJECT,
                        Header("OCI-Tag", "<tag>", "One line for each tag that was asked for and set."),
                        f.NO_CONTENT,
                    ),
                ),
            ),
            failures=(
                f.failure(
                    400, ErrorCode.TAG_INVALID, "A `tag` does not match the grammar, or the push is by tag."
                ),
                f.failure(414, ErrorCode.TAG_INVALID, "There are more than 100 `tag` parameters."),
                _BAD_DIGEST,
                *_WRITE_FAILURES,
                *f.ON_NAME,
            ),
        ),
    ),
)

_DELETE = Method(
    method="DELETE",
    description="Delete a manifest and every tag that names it, by digest; or a tag alone, by tag.",
    access=(f.DELETE,),
    writes=True,
    requests=(
        Request(
            name="Delete",
            successes=(Response(status=202, description="It is gone.", headers=(f.NO_CONTENT,)),),
            failures=(
                f.failure(404, ErrorCode.MANIFEST_UNKNOWN, "There is no such manifest or tag."),
                f.failure(
                    403,
                    ErrorCode.DENIED,
                    "The tag, or one that names the manifest, is one of `policy.tags.immutable`.",
                ),
                f.failure(
                    405,
                    ErrorCode.UNSUPPORTED,
                    "`storage.delete.enabled` is off, or the registry is read-only.",
                    f.ALLOW,
                ),
                *_ON_REFERENCE,
            ),
        ),
    ),
)

MANIFEST = Route(
    name="manifest",
    path="/v2/{name}/manifests/{reference}",
    entity="Manifest",
    description="A manifest or index, by tag or by digest.",
    parameters=(f.NAME, f.REFERENCE),
    methods=(
        _read("GET", "Fetch a manifest.", Body("<media type>", "<manifest>")),
        _read("HEAD", "As GET, without the body.", None),
        _PUT,
        _DELETE,
    ),
)
