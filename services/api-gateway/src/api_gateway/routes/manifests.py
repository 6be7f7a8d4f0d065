"""Manifests, by tag or by digest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from api_gateway.clients.lookups import Lookups
from api_gateway.clients.metadata import MetadataClient
from api_gateway.conditional import parse_entity_tags
from api_gateway.events import Listener
from api_gateway.headers import HeaderList, elements, field, media_type
from api_gateway.limits import refused
from api_gateway.request import Request
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.reference import InvalidReferenceError, parse_tag

# `tag` parameters of one push, at most. Source: OCI distribution specification, main, "Pushing manifests".
_MOST_TAGS = 100

# Characters of an Accept header that is worth remembering, at most.
_REMEMBERED_ACCEPT = 2048


class ManifestRoutes:
    """Serves manifests; `largest` is the bytes of the largest that is taken."""

    def __init__(
        self, metadata: MetadataClient, lookups: Lookups, listener: Listener, *, largest: int
    ) -> None:
        self._metadata = metadata
        self._lookups = lookups
        self._listener = listener
        self._largest = largest

    async def get(self, request: Request) -> None:
        """Serve a manifest that the client accepts, or 304 when it holds it. HEAD leaves the content out.

        HEAD and conditional requests look up the content too: the GET that mostly follows finds it in memory.
        """
        headers = request.headers
        accept = _accepted(headers.lines(b"accept"))
        manifest = await self._lookups.manifest(request.name, str(request.reference), accept)
        if b"if-none-match" in headers:
            conditions = parse_entity_tags(headers.lines(b"if-none-match"))
            if conditions.match_weakly((manifest.digest,)):
                await request.respond(304, manifest.validators)
                return
        await request.respond(200, manifest.fields, manifest.content)
        self._listener.manifest_pulled(request, manifest)

    async def put(self, request: Request) -> None:
        """Store a manifest and set its tags."""
        tags = _tags(request)
        content = await request.read_body(self._largest)
        if content is None:
            refused("manifestsize", request.record.client)
            raise RegistryError(
                ErrorCode.MANIFEST_INVALID,
                {"limit": self._largest},
                message=f"the manifest is larger than {self._largest} bytes",
                http_status=413,
            )
        with self._listener.admitted():
            response = await self._metadata.put_manifest(
                request.name,
                request.reference,
                tags=tags,
                media_type=request.content_type,
                content=content,
                granted_class=request.grant.class_of(request.name),
                create_only=request.grant.creates_only(request.name),
            )
            await self._listener.manifest_pushed(request, response.descriptor, response.tags, content)
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
        with self._listener.admitted():
            removed = await self._metadata.delete_manifest(request.name, request.reference)
            await self._listener.manifest_deleted(request, removed)
        await request.respond(202)


def _accepted(lines: list[str]) -> str:
    """The media types of an Accept header: without parameters, each once, in order, comma-separated."""
    if not lines:
        return ""
    if sum(map(len, lines)) > _REMEMBERED_ACCEPT:
        return _normalized(lines)
    return _remembered(*lines)


def _normalized(lines: Iterable[str]) -> str:
    return ",".join(sorted({media_type(element) for element in elements(lines)}))


@lru_cache(256)
def _remembered(*lines: str) -> str:
    """What clients accept is as different as clients are, not as requests are."""
    return _normalized(lines)


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
