"""Every route and method of the gateway, asked by those who may not: made from the descriptor table.

What is tried here is all that the gateway answers; a route that is added is tried too, or has to say why it
is open, and a method whose access records are changed is seen in `test_access.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute

from api_gateway.access.open import Open
from api_gateway.answering import Exchange
from api_gateway.app import Parts, build_router
from api_gateway.descriptors import TABLE
from api_gateway.descriptors.model import Method
from api_gateway.documents import documents_app
from api_gateway.openroute import OpenRoute
from api_gateway.routing import RouteContext, V2Route
from api_gateway.tokens.build import token_serving
from api_gateway.tokens.serving import TokenServing
from api_gateway.urls import Origins
from moorage.config import parse
from support.accounts import write_accounts
from support.tokenserver import Issuer

REPOSITORY = "team/app"
DIGEST = "sha256:" + "a" * 64
VALUES = {
    "name": REPOSITORY,
    "reference": "v1",
    "digest": DIGEST,
    "uuid": "00000000-0000-4000-8000-000000000000",
}
METHODS = [(route, method) for route in TABLE for method in route.methods]
IDS = [f"{method.method} {route.name}" for route, method in METHODS]
ALL_ACTIONS = f"repository:{REPOSITORY}:pull,push,delete"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def registry(
    start_registry: Callable[..., Any], issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    return start_registry(auth=issuer.auth(tmp_path_factory.mktemp("keys") / "jwks.json"))


def path_of(template: str) -> str:
    return template.format_map(VALUES)


def needed(method: Method) -> list[str]:
    """The scopes that a method needs, without what it may do without."""
    return [
        f"{access.type}:{REPOSITORY if access.name == '{name}' else access.name}:{access.action}"
        for access in method.access
        if not access.optional
    ]


def insufficient(method: Method) -> Iterator[tuple[str, list[str]]]:
    """Scopes that do not do, and what is wrong with them."""
    scopes = needed(method)
    if not scopes:
        return
    yield "no scope at all", []
    for missing in scopes:
        kept = {"pull", "push", "delete"} - {missing.rpartition(":")[2]}
        yield f"all but {missing}", [f"repository:{REPOSITORY}:{','.join(sorted(kept))}"]
    yield (
        "other repositories",
        [f"repository:{name}:pull,push,delete" for name in ("team", "team/app2", "team/app/sub", "other")],
    )
    yield "wildcards", ["repository:*:*", "repository:team/*:pull,push,delete", f"repository:{REPOSITORY}:*"]
    yield "another type", [f"repositories:{REPOSITORY}:pull,push,delete", f"registry:{REPOSITORY}:*"]
    if not any(scope.startswith("registry:") for scope in scopes):
        yield "the catalog", ["registry:catalog:*"]


def bad_tokens(issuer: Issuer, method: Method) -> Iterator[tuple[str, str, str]]:
    """Credentials that do not do: what is wrong, the Authorization field, and the error of the challenge."""
    scopes = [*needed(method), ALL_ACTIONS]
    now = int(time.time())
    for wrong, changes in {
        "expired": {"exp": now - 61},
        "not yet good": {"nbf": now + 120},
        "without an end": {"exp": None},
        "of another issuer": {"iss": "https://other.example"},
        "for another audience": {"aud": "other.example"},
    }.items():
        yield wrong, f"Bearer {issuer.token(*scopes, **changes)}", "invalid_token"
    yield "by another key", f"Bearer {Issuer().token(*scopes)}", "invalid_token"
    yield "cut off", f"Bearer {issuer.token(*scopes)[:-1]}", "invalid_token"
    for wrong, granted in insufficient(method):
        yield wrong, f"Bearer {issuer.token(*granted)}", "insufficient_scope"
    yield "nothing", "", ""
    yield "a password", "Basic YW5uOnBhc3N3b3Jk", ""


def ask(registry: Any, method: Method, path: str, authorization: str) -> httpx.Response:
    headers = {"Authorization": authorization} if authorization else {}
    return registry.client.request(method.method, path, headers=headers)


@pytest.mark.parametrize(("route", "method"), METHODS, ids=IDS)
def test_whoever_may_not_is_refused_and_told_what_it_takes(registry, issuer: Issuer, route, method) -> None:
    path = path_of(route.path)
    before = registry.stored_paths()
    for wrong, authorization, error in bad_tokens(issuer, method):
        answer = ask(registry, method, path, authorization)
        assert answer.status_code == 401, wrong
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="https://t.example",service="registry.example"'), wrong
        assert (f'error="{error}"' in challenge) == bool(error), wrong
        assert ("error=" in challenge) == bool(error), wrong
        for access in needed(method):
            type_and_name, _, action = access.rpartition(":")
            scope = challenge.partition('scope="')[2].partition('"')[0]
            assert action in dict(each.rsplit(":", 1) for each in scope.split())[type_and_name].split(",")
        if method.method != "HEAD":
            assert [each["code"] for each in answer.json()["errors"]] == ["UNAUTHORIZED"], wrong
    # Refused is before anything is done.
    assert registry.stored_paths() == before


@pytest.mark.parametrize(("route", "method"), METHODS, ids=IDS)
def test_whoever_may_is_not_refused(registry, issuer: Issuer, route, method) -> None:
    """The records of the table are enough: what is asked for is mostly not there, but nobody says 401."""
    answer = ask(registry, method, path_of(route.path), f"Bearer {issuer.token(*needed(method))}")
    assert answer.status_code in (200, 202, 400, 404), answer.text


@pytest.mark.parametrize(("route", "method"), METHODS, ids=IDS)
def test_what_is_refused_does_not_say_what_is_there(registry, issuer: Issuer, route, method) -> None:
    """One answer for a repository that exists and one that does not."""
    everything = {"Authorization": f"Bearer {issuer.token('repository:there/app:pull,push,delete')}"}
    answer = registry.client.post("/v2/there/app/blobs/uploads/", headers=everything)
    assert answer.status_code == 202
    stranger = f"Bearer {issuer.token('repository:mine/app:pull,push,delete')}"
    told = [
        (
            answer.status_code,
            answer.text.replace(name, "NAME"),
            answer.headers["www-authenticate"].replace(name, "NAME"),
        )
        for name in ("there/app", "gone/app")
        for answer in [ask(registry, method, route.path.format_map({**VALUES, "name": name}), stranger)]
        if answer.status_code != 200
    ]
    assert len(set(told)) <= 1


# What is not in the table


@pytest.fixture
async def serving(tmp_path: Path) -> TokenServing:
    server = {"htpasswd": str(write_accounts(tmp_path / "htpasswd", {})), "key": str(tmp_path / "key.pem")}
    config = parse(f"version: 0.1\nstorage: inmemory\nauth: {{token: {{server: {server}}}}}\n", {})
    async with token_serving(config) as serving:
        assert serving is not None
        return serving


def routes_of(tokens: TokenServing | None) -> list[BaseRoute]:
    """The routes of a gateway that is built of nothing: none of them is asked."""
    config = parse("version: 0.1\nstorage: inmemory\n", {})
    nothing: dict[str, Any] = {each.name: None for each in fields(Parts)}
    origins = Origins(host=None, relative=True, prefix="/", trusts=lambda peer: False)
    context = RouteContext(access=Open(), exchange=Exchange(origins, stall=5), prefix="/", read_only=False)
    return list(build_router(config, Parts(**{**nothing, "tokens": tokens}), context).routes)


async def test_every_route_has_access_records_or_says_why_it_is_open(serving: TokenServing) -> None:
    routes = routes_of(serving)
    open_routes = {type(route).__name__: route.because for route in routes if isinstance(route, OpenRoute)}
    assert set(open_routes) == {"AliveRoute", "KeysRoute", "TokenRoute"}
    assert all(open_routes.values())
    rest = [route for route in routes if not isinstance(route, OpenRoute)]
    assert [type(route) for route in rest] == [V2Route] * len(TABLE)


def test_without_a_token_service_none_of_it_is_there() -> None:
    routes = routes_of(None)
    assert [type(route).__name__ for route in routes if isinstance(route, OpenRoute)] == ["AliveRoute"]


def test_a_route_that_does_not_say_why_it_is_open_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="because"):
        type("Forgetful", (OpenRoute,), {})
    with pytest.raises(TypeError, match="must say why it is open"):
        type("Forgetful", (OpenRoute,), {}, because=" ")


def test_beside_the_routes_there_is_the_openapi_document_alone() -> None:
    assert [route.path for route in documents_app().routes] == ["/openapi.json"]


@pytest.mark.parametrize(
    "path",
    [
        "/debug/health",
        "/debug/health/down",
        "/debug/vars",
        "/debug/pprof/",
        "/metrics",
        "/docs",
        "/redoc",
        "/token",
        "/token/jwks.json",
        "/v2",
        "/v2/_debug",
        "/v2//_catalog",
        "/v2/team/app/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_other_path_does_anything(registry, method: str, path: str) -> None:
    """The debug server's paths are on its own listener, and the token service's where there is one."""
    answer = registry.client.request(method, path)
    assert answer.status_code in (301, 404)
