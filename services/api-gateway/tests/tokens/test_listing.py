"""The catalog as each caller sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api_gateway.routes import catalog as catalog_module
from metadata_service import catalog as search_module
from support.tokenserver import Issuer

NAMES = [
    "home/ada/app",
    "home/grace/app",
    "other/a",
    "public/app",
    "release/app",
    "team",
    "team/a",
    "team/b",
    "team/b/c",
    "team/d",
    "zoo",
]
TEAM = ["team/a", "team/b", "team/b/c", "team/d"]


@pytest.fixture(scope="module")
def full(registry: Any) -> Any:
    """The registry with repositories of every kind."""
    for name in NAMES:
        folder = registry.root / "docker/registry/v2/repositories" / name / "_manifests"
        folder.mkdir(parents=True)
    return registry


def last_shown(pages: list[list[str]]) -> str:
    """The last entry of what the client was shown; "" for nothing yet."""
    shown = [name for page in pages for name in page]
    return shown[-1] if shown else ""


def pages(client, user: str, path: str) -> list[list[str]]:
    """The pages from `path` on, by their links."""
    headers = client.bearer(user, "registry:catalog:*")
    found: list[list[str]] = []
    while path:
        answer = client.http.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["repositories"])
        match = re.fullmatch(r'<([^>]*)>; rel="next"', answer.headers.get("link", ""))
        path = match[1] if match else ""
        if path:
            last = httpx.URL(path).params["last"]
            assert last == last_shown(found)
        assert len(found) < 100
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 4, 100])
def test_a_caller_sees_what_the_rules_list(full, client, n: int) -> None:
    found = pages(client, "ada", f"/v2/_catalog?n={n}")
    assert [name for page in found for name in page] == TEAM
    # Pages are full, whatever lies between their entries.
    assert all(len(page) == n for page in found[:-1])


def test_who_may_see_everything_does(full, client) -> None:
    assert pages(client, "grace", "/v2/_catalog?n=1000") == [NAMES]


@pytest.mark.parametrize("user", ["", "ci"])
def test_who_is_named_by_no_rule_for_the_catalog_gets_no_part_of_it(full, client, user: str) -> None:
    headers = client.bearer(user, "registry:catalog:*")
    answer = client.http.get("/v2/_catalog", headers=headers)
    assert answer.status_code == 401
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("n", [1, 3, 100])
def test_a_search_that_is_long_goes_on_and_tells_no_name(full, client, monkeypatch, n: int) -> None:
    monkeypatch.setattr(search_module, "MOST_LOOKS", 1)
    monkeypatch.setattr(search_module, "_NAMES", 1)
    monkeypatch.setattr(catalog_module, "_MOST_CALLS", 1)
    found = pages(client, "ada", f"/v2/_catalog?n={n}")
    assert [name for page in found for name in page] == TEAM
    assert all(len(page) <= n for page in found)


def position_of(client, user: str, monkeypatch) -> tuple[str, dict[str, str]]:
    """The path of a second page that carries a position, and the user's headers."""
    monkeypatch.setattr(search_module, "MOST_LOOKS", 1)
    monkeypatch.setattr(search_module, "_NAMES", 1)
    monkeypatch.setattr(catalog_module, "_MOST_CALLS", 1)
    headers = client.bearer(user, "registry:catalog:*")
    path = "/v2/_catalog?n=100"
    while "_position=" not in path:
        link = client.http.get(path, headers=headers).headers["link"]
        path = link[1 : link.index(">")]
    return path, headers


def test_a_position_is_its_user_s_alone_and_cannot_be_made_up(full, client, monkeypatch) -> None:
    path, headers = position_of(client, "ada", monkeypatch)
    assert client.http.get(path, headers=headers).status_code == 200
    for forged in (path[:-8] + "AAAAAAAA", re.sub("_position=.*", "_position=dGVhbS9h", path), path[:-30]):
        answer = client.http.get(forged, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "PAGINATION_NUMBER_INVALID"


def test_pages_of_no_entries_and_pages_too_large_are_as_in_any_catalog(full, client) -> None:
    headers = client.bearer("ada", "registry:catalog:*")
    answer = client.http.get("/v2/_catalog?n=0", headers=headers)
    assert (answer.json(), "link" in answer.headers) == ({"repositories": []}, False)
    assert client.http.get("/v2/_catalog?n=100000", headers=headers).status_code == 400


def test_a_part_of_the_catalog_that_nothing_defines_is_refused(
    start_registry: Callable[..., Any], tmp_path
) -> None:
    """Another token server's token for `registry:catalog:list`: there is no list to evaluate."""
    issuer = Issuer()
    registry = start_registry(alone=True, auth=issuer.auth(tmp_path / "keys.json"))
    answer = registry.client.get("/v2/_catalog", headers=issuer.bearer("registry:catalog:list"))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
