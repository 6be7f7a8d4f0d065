"""Parameters, fields and failures that several routes share."""

from __future__ import annotations

from api_gateway.descriptors.model import Access, Body, Header, Parameter, Response
from moorage.errors import ErrorCode
from moorage.reference import NAME_PATTERN, TAG_PATTERN

ENVELOPE = Body(
    "application/json", '{"errors": [{"code": <code>, "message": <message>, "detail": <detail>}]}'
)

# Path parameters

NAME = Parameter(
    "name",
    "string",
    f"The repository's name, 1 to 255 characters that match `{NAME_PATTERN}`.",
    required=True,
    segment=".*",
)
REFERENCE = Parameter(
    "reference",
    "string",
    f"A tag, which matches `{TAG_PATTERN}`, or the manifest's digest.",
    required=True,
    segment="[^/]*",
)
DIGEST = Parameter(
    "digest",
    "string",
    "The content's digest: `sha256:` and 64 or `sha512:` and 128 lower-case hexadecimal digits.",
    required=True,
    # The folder of uploads is no digest: without its closing slash it redirects there.
    segment="(?!uploads$)[^/]+",
)
UUID = Parameter(
    "uuid", "string", "The upload's id, as the registry gave it.", required=True, segment="[^/]+"
)

# Query parameters

PAGE_SIZE = Parameter(
    "n", "integer", "How many entries to list, in ASCII decimal digits; 0 lists none.", format="<n>"
)
LAST = Parameter("last", "string", "The entry after which to begin.", format="<entry>")
STATE = Parameter(
    "_state",
    "string",
    "The upload's signed state. It stands in every `Location` of an upload: take that URL as it is.",
    format="<opaque>",
    required=True,
)

# Request headers

ACCEPT = Parameter(
    "Accept",
    "string",
    "The media types of manifests that the client understands, over one or more lines. Parameters "
    "are ignored. "
    "OCI manifests and indexes are served only if they are named; Docker schema 2 is served in any case.",
    format="<media type>, ...",
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "string",
    "The digests that the client holds, quoted or not, or `*`.",
    format='"<digest>", ...',
)
IF_MATCH = Parameter("If-Match", "string", "The digests that the client will take.", format='"<digest>", ...')
RANGE = Parameter(
    "Range",
    "string",
    "The bytes to serve: one or more ranges, or a suffix (RFC 9110, section 14).",
    format="bytes=<first>-<last>, ...",
)
IF_RANGE = Parameter(
    "If-Range", "string", "`Range` counts only if this is the blob's ETag.", format='"<digest>"'
)
CONTENT_RANGE = Parameter(
    "Content-Range",
    "string",
    "Where the body belongs: first and last byte, inclusive, without a unit. "
    "The first must be the upload's size.",
    format="<first>-<last>",
)

# Fields of responses

API_VERSION = Header("Docker-Distribution-API-Version", "registry/2.0", "On every response.")
CONTENT_LENGTH = Header("Content-Length", "<length>", "Bytes of the body, or of what GET would send.")
NO_CONTENT = Header("Content-Length", "0", "There is no body.")
JSON_TYPE = Header("Content-Type", "application/json", "")
CONTENT_DIGEST = Header(
    "Docker-Content-Digest",
    "<digest>",
    "The content's digest; the one that was asked for, if the request named one.",
)
ETAG = Header("ETag", '"<digest>"', "The digest, for conditional requests.")
LINK = Header(
    "Link", '<<path>?n=<n>&last=<entry>>; rel="next"', "The next page; absent when there is none. Relative."
)
RANGE_ZERO = Header("Range", "0-0", "Nothing is stored yet.")
RANGE_STORED = Header(
    "Range", "0-<last>", "The bytes that are stored, inclusive; `0-0` also when there are none."
)
UPLOAD_UUID = Header("Docker-Upload-UUID", "<uuid>", "The upload's id.")
UPLOAD_LOCATION = Header(
    "Location", "<origin>/v2/<name>/blobs/uploads/<uuid>?_state=<state>", "The upload, for the next request."
)
BLOB_LOCATION = Header("Location", "<origin>/v2/<name>/blobs/<digest>", "The blob.")
ALLOW = Header("Allow", "<method>, ...", "The methods that the route has.")
CHALLENGE = Header(
    "WWW-Authenticate", '<scheme> realm="<realm>", ...', "How to come in, and for a token, with which scope."
)
RETRY_AFTER = Header("Retry-After", "1", "Seconds after which to try again.")

# Failures


def failure(status: int, code: ErrorCode, description: str, *headers: Header) -> Response:
    """A failure with the error envelope."""
    return Response(
        status=status, description=description, headers=(JSON_TYPE, *headers), codes=(code,), body=ENVELOPE
    )


UNAVAILABLE = failure(
    503,
    ErrorCode.UNAVAILABLE,
    "A health check fails, or a service that the request needs does not answer.",
    RETRY_AFTER,
)
UNAUTHORIZED = failure(
    401,
    ErrorCode.UNAUTHORIZED,
    "With access control: the credentials are missing, wrong, or do not allow it. The detail lists what was "
    "asked for.",
    CHALLENGE,
)
NAME_INVALID = failure(400, ErrorCode.NAME_INVALID, "The name does not match the grammar.")
NAME_UNKNOWN = failure(404, ErrorCode.NAME_UNKNOWN, "There is no such repository.")
DIGEST_INVALID = failure(
    400, ErrorCode.DIGEST_INVALID, "The digest is malformed or of an unsupported algorithm."
)
PAGINATION_INVALID = failure(
    400, ErrorCode.PAGINATION_NUMBER_INVALID, "`n` is not a number in ASCII decimal digits."
)
READ_ONLY = failure(405, ErrorCode.UNSUPPORTED, "The registry is read-only.", ALLOW)

ON_NAME = (NAME_INVALID, UNAUTHORIZED, UNAVAILABLE)
"""What a route with a name can always answer."""

# Access

AUTHENTICATION_ALONE: tuple[Access, ...] = ()
"""For a method that asks only who the client is."""

PULL = Access("repository", "{name}", "pull")
PUSH = Access("repository", "{name}", "push")
DELETE = Access("repository", "{name}", "delete")
PULL_FROM_SOURCE = Access("repository", "{from}", "pull", query="from", optional=True)
CATALOG_ACCESS = Access("registry", "catalog", "*")
