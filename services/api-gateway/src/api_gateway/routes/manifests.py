"""Manifests, by tag or by digest."""

from __future__ import annotations

from collections.abc import Sequence

from api_gateway.clients.metadata import MetadataClient
from api_gateway.conditional import EntityTags, entity_tag, parse_entity_tags
from api_gateway.headers import HeaderList, elements, field, media_type
from api_gateway.request import Request
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.reference import InvalidReferenceError, parse_tag

# `tag` parameters of one push, at most. Source: OCI distribution specification, main, "Pushing manifests".
_MOST_TAGS = 100


class ManifestRoutes:
    """Serves manifests; `largest` is the bytes of the largest that is taken."""

    def __init__(self, metadata: MetadataClient, *, largest: int) -> None:
        self._metadata = metadata
        self._largest = largest

    async def get(self, request: Request) -> None:
        """Serve a manifest that the client accepts, or 304 when it holds it. HEAD leaves the content out."""
        conditions = parse_entity_tags(request.headers.lines(b"if-none-match"))
        # For `*`, any manifest is held already: its content is not needed.
        descriptor_only = request.method == "HEAD" or conditions.any
        response = await self._metadata.get_manifest(
            request.name,
            request.reference,
            accept=[media_type(element) for element in elements(request.headers.lines(b"accept"))],
            known=_known_digests(conditions),
            descriptor_only=descriptor_only,
        )
        descriptor = response.descriptor
        # By digest, the client's own digest is answered, of whatever algorithm it is.
        by_digest = isinstance(request.reference, Digest)
        digest = str(request.reference) if by_digest else descriptor.digest
        headers = [field(b"docker-content-digest", digest), field(b"etag", entity_tag(digest))]
        if response.not_modified or conditions.any:
            await request.respond(304, headers)
            return
        headers.append(field(b"content-type", descriptor.media_type))
        if request.method == "HEAD":
            await request.respond(200, headers, length=descriptor.size)
        else:
            await request.respond(200, headers, response.content)

    async def put(self, request: Request) -> None:
        """Store a manifest and set its tags."""
        tags = _tags(request)
        content = await request.read_body(self._largest)
        if content is None:
            raise RegistryError(
                ErrorCode.MANIFEST_INVALID,
                {"limit": self._largest},
                message=f"the manifest is larger than {self._largest} bytes",
                http_status=413,
            )
        response = await self._metadata.put_manifest(
            request.name,
            request.reference,
            tags=tags,
            media_type=request.content_type,
            content=content,
            granted_class=request.grant.class_of(request.name),
        )
        digest = response.descriptor.digest
        headers: HeaderList = [
            field(b"location", request.urls.manifest(request.name, digest)),
            field(b"docker-content-digest", digest),
        ]
        if response.subject:
            headers.append(field(b"oci-subject", response.subject))
        if tags:
            headers.extend(field(b"oci-tag", tag) for tag in response.tags)
        await request.respond(201, headers)

    async def delete(self, request: Request) -> None:
        """Delete a manifest with its tags, by digest, or one tag."""
        await self._metadata.delete_manifest(request.name, request.reference)
        await request.respond(202)


def _known_digests(conditions: EntityTags) -> list[str]:
    return [tag.opaque for tag in conditions.tags if ":" in tag.opaque]


def _tags(request: Request) -> Sequence[str]:
    """The `tag` parameters of a push by digest, checked, each once."""
    given = request.query_all("tag")
    if not given:
        return ()
    if not isinstance(request.reference, Digest):
        raise RegistryError(
            ErrorCode.TAG_INVALID, message="tag parameters go with a push by digest, not by tag"
        )
    if len(given) > _MOST_TAGS:
        raise RegistryError(
            ErrorCode.TAG_INVALID,
            {"limit": _MOST_TAGS},
            message=f"more than {_MOST_TAGS} tag parameters",
            http_status=414,
        )
    try:
        return list(dict.fromkeys(parse_tag(tag) for tag in given))
    except InvalidReferenceError as error:
        raise RegistryError(ErrorCode.TAG_INVALID, {"reason": str(error)}) from error
