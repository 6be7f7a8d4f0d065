"""The routes that answer with JSON lists, and the base of the API."""

from __future__ import annotations

from api_gateway.descriptors import fragments as f
from api_gateway.descriptors.model import Body, Header, Method, Parameter, Request, Response, Route
from moorage.errors import ErrorCode

BASE = Route(
    name="base",
    path="/v2/",
    entity="Base",
    description="Tells a client that this is a registry, and whether it may talk to it: any valid "
    "credentials will do.",
    methods=tuple(
        Method(
            method=method,
            description=description,
            access=f.AUTHENTICATION_ALONE,
            requests=(
                Request(
                    name="Check",
                    successes=(
                        Response(
                            status=200,
                            description="The registry speaks version 2 of the API.",
                            headers=(f.API_VERSION, f.JSON_TYPE, Header("Content-Length", "2", "")),
                            body=Body("application/json", "{}") if method == "GET" else None,
                        ),
                    ),
                    failures=(f.UNAUTHORIZED, f.UNAVAILABLE),
                ),
            ),
        )
        for method, description in (
            ("GET", "Check that the registry speaks the API."),
            ("HEAD", "As GET, without the body."),
        )
    ),
)

TAGS = Route(
    name="tags",
    path="/v2/{name}/tags/list",
    entity="Tags",
    description="The tags of a repository, in byte order.",
    parameters=(f.NAME,),
    methods=(
        Method(
            method="GET",
            description="List tags.",
            access=(f.PULL,),
            requests=(
                Request(
                    name="Tags",
                    description="Without `n` all tags are listed. An `n` above `tags.maxtags` is cut to it.",
                    query=(f.PAGE_SIZE, f.LAST),
                    successes=(
                        Response(
                            status=200,
                            description="The tags; an empty list when there are none.",
                            headers=(f.JSON_TYPE, f.LINK),
                            body=Body("application/json", '{"name": <name>, "tags": [<tag>, ...]}'),
                        ),
                    ),
                    failures=(f.PAGINATION_INVALID, f.NAME_UNKNOWN, *f.ON_NAME),
                ),
            ),
        ),
    ),
)

_POSITION = Parameter(
    "_position",
    "string",
    "Where a long search for the user's repositories stands. It stands in a `Link`: take that URL as it is.",
    format="<opaque>",
)

CATALOG = Route(
    name="catalog",
    path="/v2/_catalog",
    entity="Catalog",
    description=(
        "The repositories of the registry, ordered component by component, so that `a/b` comes before `a-b`. "
        "A token for `registry:catalog:list` shows those that `auth.token.server` lists for its user."
    ),
    methods=(
        Method(
            method="GET",
            description="List repositories.",
            access=(f.CATALOG_ACCESS,),
            requests=(
                Request(
                    name="Catalog",
                    description="Without `n` a page holds 100 repositories, or `catalog.maxentries` "
                    "if that is less.",
                    query=(f.PAGE_SIZE, f.LAST, _POSITION),
                    successes=(
                        Response(
                            status=200,
                            description="The repositories; an empty list when there are none.",
                            headers=(f.JSON_TYPE, f.LINK),
                            body=Body("application/json", '{"repositories": [<name>, ...]}'),
                        ),
                    ),
                    failures=(
                        f.failure(
                            400,
                            ErrorCode.PAGINATION_NUMBER_INVALID,
                            "`n` is not a number in ASCII decimal digits, or more than `catalog.maxentries`.",
                        ),
                        f.UNAUTHORIZED,
                        f.UNAVAILABLE,
                    ),
                ),
            ),
        ),
    ),
)

_INDEX = "application/vnd.oci.image.index.v1+json"

REFERRERS = Route(
    name="referrers",
    path="/v2/{name}/referrers/{digest}",
    entity="Referrers",
    description="The manifests of a repository whose `subject` is a given manifest (OCI distribution 1.1).",
    parameters=(f.NAME, f.DIGEST),
    methods=(
        Method(
            method="GET",
            description="List referrers. The subject itself need not exist.",
            access=(f.PULL,),
            requests=(
                Request(
                    name="Referrers",
                    description="A page holds up to 1000 referrers, ordered by digest.",
                    query=(
                        Parameter(
                            "artifactType",
                            "string",
                            "List only referrers of this artifact type.",
                            format="<media type>",
                        ),
                        f.PAGE_SIZE,
                        f.LAST,
                    ),
                    successes=(
                        Response(
                            status=200,
                            description="An image index of the referrers; an empty one when there are none.",
                            headers=(
                                Header("Content-Type", _INDEX, ""),
                                Header(
                                    "OCI-Filters-Applied", "artifactType", "When `artifactType` was given."
                                ),
                                f.LINK,
                            ),
                            body=Body(
                                _INDEX,
                                f'{{"schemaVersion": 2, "mediaType": "{_INDEX}",'
                                ' "manifests": [<descriptor>, ...]}',
                            ),
                        ),
                    ),
                    failures=(f.DIGEST_INVALID, f.PAGINATION_INVALID, *f.ON_NAME),
                ),
            ),
        ),
    ),
)
