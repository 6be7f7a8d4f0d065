"""The access records that each route and method asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from api_gateway.access import AccessRecord, Grant, Resource
from api_gateway.access.open import Open
from api_gateway.answering import Exchange
from api_gateway.descriptors import TABLE
from api_gateway.record import RECORD_KEY, RequestRecord
from api_gateway.request import Request
from api_gateway.routing import RouteContext, V2Route
from api_gateway.urls import Origins
from moorage.errors import ErrorCode, RegistryError

DIGEST = "sha256:" + "a" * 64
UPLOAD = "00000000-0000-4000-8000-000000000000"


class Controller:
    """Notes what it is asked, and answers as a test wants."""

    def __init__(self, refusal: RegistryError | None = None) -> None:
        self.asked: list[str] = []
        self.refusal = refusal

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        self.asked = [str(record) for record in records]
        if self.refusal is not None:
            raise self.refusal
        plugin = Resource("repository", "team/app", frozenset({"pull", "push"}), "plugin")
        return Grant("ann", (plugin,))


async def ask(controller: Any, method: str, path: str, query: str = "") -> tuple[int, list[Grant]]:
    """The status of a request to the route of `path`, and the grants that its endpoint saw."""
    grants: list[Grant] = []

    async def endpoint(request: Request) -> None:
        grants.append(request.grant)
        await request.respond(200)

    context = RouteContext(
        access=controller,
        exchange=Exchange(Origins(host=None, relative=True, prefix="/", trusts=lambda peer: False), stall=5),
        prefix="/",
        read_only=False,
    )
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [],
        RECORD_KEY: RequestRecord(peer="", client=""),
    }
    for descriptor in TABLE:
        endpoints = {(descriptor.name, each.method): endpoint for each in descriptor.methods}
        route = V2Route(descriptor, endpoints, context)
        match, child = route.matches(scope)
        if match.name == "FULL":
            await route.handle({**scope, **child}, receive, send)
    return statuses[0], grants


PULL = "repository:team/app:pull"
PUSH = "repository:team/app:push"
DELETE = "repository:team/app:delete"


@pytest.mark.parametrize(
    ("method", "path", "records"),
    [
        ("GET", "/v2/", []),
        ("GET", "/v2/_catalog", ["registry:catalog:*"]),
        ("GET", "/v2/team/app/tags/list", [PULL]),
        ("GET", f"/v2/team/app/referrers/{DIGEST}", [PULL]),
        ("GET", "/v2/team/app/manifests/v1", [PULL]),
        ("HEAD", "/v2/team/app/manifests/v1", [PULL]),
        ("PUT", "/v2/team/app/manifests/v1", [PULL, PUSH]),
        ("DELETE", "/v2/team/app/manifests/v1", [DELETE]),
        ("GET", f"/v2/team/app/blobs/{DIGEST}", [PULL]),
        ("HEAD", f"/v2/team/app/blobs/{DIGEST}", [PULL]),
        ("DELETE", f"/v2/team/app/blobs/{DIGEST}", [DELETE]),
        ("POST", "/v2/team/app/blobs/uploads/", [PULL, PUSH]),
        ("GET", f"/v2/team/app/blobs/uploads/{UPLOAD}", [PULL]),
        ("HEAD", f"/v2/team/app/blobs/uploads/{UPLOAD}", [PULL]),
        ("PATCH", f"/v2/team/app/blobs/uploads/{UPLOAD}", [PULL, PUSH]),
        ("PUT", f"/v2/team/app/blobs/uploads/{UPLOAD}", [PULL, PUSH]),
        ("DELETE", f"/v2/team/app/blobs/uploads/{UPLOAD}", [DELETE]),
    ],
)
async def test_a_method_needs_its_records(method: str, path: str, records: list[str]) -> None:
    controller = Controller()
    status, grants = await ask(controller, method, path)
    assert (status, controller.asked) == (200, records)
    assert grants[0].user == "ann"
    assert grants[0].class_of("team/app") == "plugin"


async def test_a_mount_needs_to_pull_from_its_source_too() -> None:
    controller = Controller()
    await ask(controller, "POST", "/v2/team/app/blobs/uploads/", f"mount={DIGEST}&from=team%2Fbase&from=x")
    assert controller.asked == [PULL, PUSH, "repository:team/base:pull"]


@pytest.mark.parametrize("source", ["", "UPPER", "a%0D%0Ab", "..%2Fetc"])
async def test_a_source_that_is_no_repository_needs_nothing(source: str) -> None:
    controller = Controller()
    await ask(controller, "POST", "/v2/team/app/blobs/uploads/", f"mount={DIGEST}&from={source}")
    assert controller.asked == [PULL, PUSH]


async def test_what_is_not_granted_reaches_no_endpoint() -> None:
    controller = Controller(RegistryError(ErrorCode.DENIED))
    status, grants = await ask(controller, "PUT", "/v2/team/app/manifests/v1")
    assert (status, grants) == (403, [])


async def test_an_open_registry_grants_everything_to_nobody_in_particular() -> None:
    status, grants = await ask(Open(), "DELETE", "/v2/team/app/manifests/v1")
    assert (status, grants) == (200, [Grant()])


def test_every_method_that_touches_a_repository_needs_a_record_of_it() -> None:
    for route in TABLE:
        for method in route.methods:
            about = [access for access in method.access if access.name == "{name}"]
            assert bool(about) == ("{name}" in route.path), (route.name, method.method)
            assert method.writes == any(access.action in ("push", "delete") for access in method.access)
