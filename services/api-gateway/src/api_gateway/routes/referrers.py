"""The referrers of a manifest. Source: OCI distribution specification 1.1, "Listing referrers"."""

from __future__ import annotations

import json
from typing import Any

from api_gateway.clients.metadata import MetadataClient
from api_gateway.headers import HeaderList, field
from api_gateway.pagination import next_link, parse_page_size
from api_gateway.request import Request
from moorage.v1 import metadata_pb2

_INDEX = "application/vnd.oci.image.index.v1+json"

# Descriptors of a page, at most, and when the client does not say.
_PAGE = 1000


class ReferrerRoutes:
    """Lists referrers."""

    def __init__(self, metadata: MetadataClient) -> None:
        self._metadata = metadata

    async def get(self, request: Request) -> None:
        """List the manifests whose subject is the digest, as an index; of one artifact type if asked."""
        n = parse_page_size(request.query("n"))
        limit = _PAGE if n is None else min(n, _PAGE)
        artifact_type = request.query("artifactType") or ""
        response = metadata_pb2.ListReferrersResponse()
        if limit > 0:
            response = await self._metadata.list_referrers(
                request.name,
                str(request.digest),
                artifact_type=artifact_type,
                last=request.query("last") or "",
                limit=limit,
            )
        headers: HeaderList = [field(b"content-type", _INDEX)]
        further = {}
        if artifact_type:
            headers.append((b"oci-filters-applied", b"artifactType"))
            further["artifactType"] = artifact_type
        if response.more and response.referrers:
            last = response.referrers[-1].descriptor.digest
            headers.append(field(b"link", next_link(request.path, limit, last, **further)))
        index = {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [_descriptor(referrer) for referrer in response.referrers],
        }
        await request.respond(200, headers, json.dumps(index, separators=(",", ":")).encode())


def _descriptor(referrer: metadata_pb2.ListReferrersResponse.Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": referrer.descriptor.media_type,
        "digest": referrer.descriptor.digest,
        "size": referrer.descriptor.size,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        descriptor["annotations"] = dict(referrer.annotations)
    return descriptor
