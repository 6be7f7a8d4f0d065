"""The composition of the HTTP application: routes, FastAPI for documents, and what surrounds them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.routing import Router
from starlette.types import ASGIApp

from api_gateway.access import AccessController
from api_gateway.accesslog import AccessLog
from api_gateway.answering import Exchange
from api_gateway.clients.blobs import BlobReader
from api_gateway.clients.contents import SmallBlobs
from api_gateway.clients.instances import BlobInstances
from api_gateway.clients.lookups import Lookups
from api_gateway.clients.metadata import MetadataClient
from api_gateway.clients.redirects import Redirects
from api_gateway.clients.tags import TagsClient
from api_gateway.clients.uploads import UploadsClient
from api_gateway.descriptors import TABLE
from api_gateway.documents import documents_app
from api_gateway.events import Listener
from api_gateway.fallback import Fallback
from api_gateway.health import HealthState
from api_gateway.memory import Memory
from api_gateway.middleware import CommonHeaders, Gate, LastResort, Recording
from api_gateway.openroute import OpenRoute
from api_gateway.requestlimit import Buckets, RequestLimit
from api_gateway.routes.base import AliveRoute, get_base
from api_gateway.routes.blobs import BlobRoutes
from api_gateway.routes.catalog import CatalogRoutes
from api_gateway.routes.manifests import ManifestRoutes
from api_gateway.routes.referrers import ReferrerRoutes
from api_gateway.routes.tags import TagRoutes
from api_gateway.routes.uploads import UploadRoutes
from api_gateway.routing import Endpoints, RouteContext, v2_routes
from api_gateway.spans import Spans
from api_gateway.state import StateSigner
from api_gateway.urls import Origins
from moorage import tracing
from moorage.config import Configuration

if TYPE_CHECKING:
    from api_gateway.tokens.serving import TokenServing

# Peers whose trust is remembered, at most.
_PEERS = 4096


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is made of, besides its configuration."""

    metadata: MetadataClient
    lookups: Lookups
    memory: Memory
    instances: BlobInstances
    signer: StateSigner
    access: AccessController
    tokens: TokenServing | None
    health: HealthState
    access_log: AccessLog | None
    listener: Listener
    unix: bool = False
    """Whether clients connect to a unix socket, where they have no address."""
    buckets: Buckets | None = None
    """Of the clients, where the requests of each are limited."""


def endpoints(config: Configuration, parts: Parts) -> Endpoints:
    """The endpoint of each route and method of the descriptor table."""
    timeout, stall = config.services.timeout, config.services.blobtimeout
    tags = TagRoutes(TagsClient(parts.metadata, parts.memory), largest_page=config.tags.maxtags)
    listing = parts.tokens.listing if parts.tokens is not None else None
    catalog = CatalogRoutes(parts.metadata, listing, largest_page=config.catalog.maxentries)
    referrers = ReferrerRoutes(parts.metadata)
    manifests = ManifestRoutes(
        parts.metadata, parts.lookups, parts.listener, largest=config.http.limits.manifestsize
    )
    blobs = BlobRoutes(
        parts.metadata,
        parts.lookups,
        BlobReader(parts.instances, stall=stall),
        SmallBlobs(parts.instances, parts.memory, timeout=timeout),
        Redirects(parts.instances, enabled=config.redirects, timeout=timeout),
        parts.listener,
    )
    uploads = UploadRoutes(
        parts.metadata,
        UploadsClient(parts.instances, timeout=timeout, stall=stall),
        parts.signer,
        parts.listener,
    )
    return {
        ("base", "GET"): get_base,
        ("base", "HEAD"): get_base,
        ("tags", "GET"): tags.get,
        ("catalog", "GET"): catalog.get,
        ("referrers", "GET"): referrers.get,
        ("manifest", "GET"): manifests.get,
        ("manifest", "HEAD"): manifests.get,
        ("manifest", "PUT"): manifests.put,
        ("manifest", "DELETE"): manifests.delete,
        ("blob", "GET"): blobs.get,
        ("blob", "HEAD"): blobs.get,
        ("blob", "DELETE"): blobs.delete,
        ("blob-upload", "POST"): uploads.post,
        ("blob-upload-chunk", "GET"): uploads.get,
        ("blob-upload-chunk", "HEAD"): uploads.get,
        ("blob-upload-chunk", "PATCH"): uploads.patch,
        ("blob-upload-chunk", "PUT"): uploads.put,
        ("blob-upload-chunk", "DELETE"): uploads.delete,
    }


def build_app(config: Configuration, parts: Parts) -> ASGIApp:
    """The application.

    The V2 routes come before FastAPI and its own middleware, which would cost a third of the requests per
    second that an empty endpoint answers; FastAPI carries what is not on that path.
    """
    # Peers are few, and each is asked about with every request.
    trusts = lru_cache(_PEERS)(config.http.trusts)
    context = RouteContext(
        access=parts.access,
        exchange=Exchange(
            origins=Origins.of(config, trusts),
            stall=config.services.blobtimeout,
            minimum=config.http.limits.minimum,
        ),
        prefix=config.http.prefix,
        read_only=config.storage.maintenance.readonly.enabled,
    )
    app: ASGIApp = Gate(build_router(config, parts, context), health=parts.health)
    if parts.buckets is not None:
        app = RequestLimit(app, parts.buckets)
    app = LastResort(app)
    app = CommonHeaders(app, headers=config.http.headers)
    app = Recording(app, trusts=trusts, unix=parts.unix, access_log=parts.access_log)
    return Spans(app, trusts=trusts, unix=parts.unix) if tracing.is_on() else app


def build_router(config: Configuration, parts: Parts, context: RouteContext) -> Router:
    """All that the gateway answers: what access control stands before, and what is open and says why."""
    routes = v2_routes(TABLE, endpoints(config, parts), context)
    own: list[OpenRoute] = [AliveRoute()]
    if parts.tokens is not None:
        own += parts.tokens.routes(context.exchange)
    return Router(
        routes=[*routes, *own],
        default=Fallback(routes, documents_app(), prefix=config.http.prefix),
        redirect_slashes=False,
    )


def standard_access_log(config: Configuration) -> AccessLog | None:
    """The access log on standard output, unless it is switched off."""
    return None if config.log.accesslog.disabled else AccessLog(sys.stdout)
