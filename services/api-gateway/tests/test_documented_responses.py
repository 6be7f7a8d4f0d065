"""Every response of the descriptor table, asked for on the real stack.

`SCENARIOS` holds a function for each documented (route, method, status, error code). A row of the table
without one is a failure, and so is a scenario that no row documents.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_gateway.descriptors import TABLE
from api_gateway.descriptors.model import Response
from api_gateway.state import StateSigner, UploadState

SECRET = "of this test"
DIGEST = "sha256:" + "a" * 64
BAD_DIGEST = "sha256:short"
UPLOAD_ID = "00000000-0000-4000-8000-000000000000"
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
BY_DIGEST = {"digest": DIGEST}
OCTETS = {"Content-Type": "application/octet-stream"}

# Fields that a documented response has only at times: the next page, what the manifest or the request brings.
AT_TIMES = {"Link", "OCI-Subject", "OCI-Tag", "OCI-Filters-Applied"}

Key = tuple[str, str, int, str]


class Registries:
    """The registries that the scenarios need, each started when the first one asks for it."""

    def __init__(self, start: Callable[..., Any], folder: Path) -> None:
        self._start = start
        self._folder = folder
        self._started: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in self._started:
            self._started[name] = self._start(**self._settings(name))
        return self._started[name]

    def _settings(self, name: str) -> dict[str, Any]:
        match name:
            case "default":
                return {}
            case "alone":
                return {"alone": True}
            case "unhealthy":
                path = self._folder / "out-of-service"
                path.touch()
                return {"alone": True, "health": {"file": [{"file": str(path)}]}}
            case "keeping":
                return {"storage": {"delete": {"enabled": False}}}
            case "redirecting":
                options = {"baseurl": "https://files.example.org/"}
                return {"middleware": {"storage": [{"name": "redirect", "options": options}]}}
            case "locked":
                return {"alone": True, "auth": {"silly": {"realm": "of this test", "service": "registry"}}}
            case "read_only":
                return {"storage": {"maintenance": {"readonly": {"enabled": True}}}}
            case "small":
                return {"http": {"limits": {"manifestsize": 1000, "uploadsize": 1000}}}
            case "plugins_only":
                return {"policy": {"repository": {"classes": ["plugin"]}}}
            case "immutable":
                return {"policy": {"tags": {"immutable": [{"repositories": "**", "tags": "v*"}]}}}
        raise AttributeError(name)


Scenario = Callable[[Registries, str, str], httpx.Response]
SCENARIOS: dict[Key, Scenario] = {}


def scenario(route: str, methods: str, status: int, code: str = "") -> Callable[[Scenario], Scenario]:
    """Registers a scenario for some methods of a route. It gets the method and a repository of its own."""

    def register(function: Scenario) -> Scenario:
        for method in methods.split():
            key = (route, method, status, code)
            assert key not in SCENARIOS, key
            SCENARIOS[key] = function
        return function

    return register


def ask(registry: Any, method: str, path: str, **options: Any) -> httpx.Response:
    return registry.client.request(method, path, **options)


def parameters_of(location: str, **further: str) -> dict[str, str]:
    return {**httpx.URL(location).params, **further}


def go_on(
    registry: Any, method: str, location: str, query: dict[str, str] | None = None, **options: Any
) -> httpx.Response:
    """A request to an upload's Location."""
    return ask(registry, method, location, params=parameters_of(location, **(query or {})), **options)


def signed_path(repository: str, upload_id: str = UPLOAD_ID, offset: int = 0, secret: str = SECRET) -> str:
    state = StateSigner(secret.encode()).sign(
        UploadState(repository, upload_id, offset, "2026-01-01T00:00:00Z")
    )
    return f"/v2/{repository}/blobs/uploads/{upload_id}?_state={state}"


# A path of each route, for what has nothing to do with the route.

PATHS = {
    "base": "/v2/",
    "tags": "/v2/{name}/tags/list",
    "manifest": "/v2/{name}/manifests/latest",
    "blob": f"/v2/{{name}}/blobs/{DIGEST}",
    "blob-upload": "/v2/{name}/blobs/uploads/",
    "blob-upload-chunk": f"/v2/{{name}}/blobs/uploads/{UPLOAD_ID}",
    "catalog": "/v2/_catalog",
    "referrers": f"/v2/{{name}}/referrers/{DIGEST}",
}


def register_what_all_routes_have() -> None:
    for route in TABLE:
        methods = " ".join(method.method for method in route.methods)
        path = PATHS[route.name]
        if "{name}" in path:
            register_bad_name(route.name, methods, path)
        register_without_credentials(route.name, methods, path)
        if route.name == "base":
            register_unhealthy(route.name, methods, path)
        else:
            register_unreachable(route.name, methods, path)
        writing = {method.method for method in route.methods if method.writes}
        if "DELETE" in writing and route.name != "blob-upload-chunk":
            # These have a switch of their own.
            writing.remove("DELETE")
        if writing:
            register_read_only(route.name, " ".join(sorted(writing)), path)


def register_bad_name(route: str, methods: str, path: str) -> None:
    @scenario(route, methods, 400, "NAME_INVALID")
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        return ask(registries.default, method, path.format(name="UPPER/case"))


def register_without_credentials(route: str, methods: str, path: str) -> None:
    @scenario(route, methods, 401, "UNAUTHORIZED")
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        return ask(registries.locked, method, path.format(name=repository))


def register_unhealthy(route: str, methods: str, path: str) -> None:
    @scenario(route, methods, 503, "UNAVAILABLE")
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        return ask(registries.unhealthy, method, path)


def register_unreachable(route: str, methods: str, path: str) -> None:
    @scenario(route, methods, 503, "UNAVAILABLE")
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        if route == "blob-upload-chunk" and method not in ("GET", "HEAD"):
            return ask(registries.alone, method, f"{signed_path(repository)}&digest={DIGEST}")
        return ask(registries.alone, method, path.format(name=repository))


def register_read_only(route: str, methods: str, path: str) -> None:
    @scenario(route, methods, 405, "UNSUPPORTED")
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        answer = ask(registries.read_only, method, path.format(name=repository))
        assert method not in answer.headers["allow"]
        return answer


# What one request to a fresh repository is answered with.

REQUESTS = [
    ("tags", "GET", 404, "NAME_UNKNOWN", "/v2/{name}/tags/list"),
    ("referrers", "GET", 400, "DIGEST_INVALID", f"/v2/{{name}}/referrers/{BAD_DIGEST}"),
    ("tags", "GET", 400, "PAGINATION_NUMBER_INVALID", "/v2/{name}/tags/list?n=many"),
    ("catalog", "GET", 400, "PAGINATION_NUMBER_INVALID", "/v2/_catalog?n=1001"),
    ("referrers", "GET", 400, "PAGINATION_NUMBER_INVALID", f"/v2/{{name}}/referrers/{DIGEST}?n=-1"),
    ("manifest", "GET HEAD DELETE", 404, "MANIFEST_UNKNOWN", f"/v2/{{name}}/manifests/{DIGEST}"),
    ("manifest", "GET HEAD PUT DELETE", 400, "TAG_INVALID", "/v2/{name}/manifests/-not-a-tag"),
    ("manifest", "GET HEAD DELETE", 400, "DIGEST_INVALID", f"/v2/{{name}}/manifests/{BAD_DIGEST}"),
    ("blob", "GET HEAD DELETE", 404, "BLOB_UNKNOWN", f"/v2/{{name}}/blobs/{DIGEST}"),
    ("blob", "GET HEAD DELETE", 400, "DIGEST_INVALID", f"/v2/{{name}}/blobs/{BAD_DIGEST}"),
    ("blob-upload-chunk", "GET HEAD", 404, "BLOB_UPLOAD_UNKNOWN", f"/v2/{{name}}/blobs/uploads/{UPLOAD_ID}"),
]


def register_request(route: str, methods: str, status: int, code: str, path: str) -> None:
    @scenario(route, methods, status, code)
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        return ask(registries.default, method, path.format(name=repository))


register_what_all_routes_have()
for request_row in REQUESTS:
    register_request(*request_row)


# Base, tags, catalog, referrers


@scenario("base", "GET HEAD", 200)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return ask(registries.default, method, "/v2/")


@scenario("tags", "GET", 200)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    registries.default.push_image(repository, "v1")
    return ask(registries.default, method, f"/v2/{repository}/tags/list")


@scenario("catalog", "GET", 200)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return ask(registries.default, method, "/v2/_catalog")


@scenario("referrers", "GET", 200)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return ask(registries.default, method, f"/v2/{repository}/referrers/{DIGEST}")


# Manifests


@scenario("manifest", "GET HEAD", 200)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    registries.default.push_image(repository)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return ask(registries.default, method, f"/v2/{repository}/manifests/latest", headers=accept)


@scenario("manifest", "GET HEAD", 304)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest, _ = registries.default.push_image(repository)
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json", "If-None-Match": digest}
    return ask(registries.default, method, f"/v2/{repository}/manifests/latest", headers=headers)


@scenario("manifest", "PUT", 201)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return registries.default.put_manifest(repository, "latest", registries.default.image(repository))


@scenario("manifest", "PUT", 400, "DIGEST_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return registries.default.put_manifest(repository, DIGEST, registries.default.image(repository))


@scenario("manifest", "PUT", 400, "MANIFEST_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return registries.default.put_manifest(repository, "latest", b"not a manifest")


@scenario("manifest", "PUT", 400, "MANIFEST_BLOB_UNKNOWN")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    manifest = json.loads(registries.default.image(repository))
    manifest["layers"][0]["digest"] = DIGEST
    answer = registries.default.put_manifest(repository, "latest", json.dumps(manifest).encode())
    assert DIGEST in json.dumps(answer.json()["errors"][0]["detail"])
    return answer


@scenario("manifest", "PUT", 413, "MANIFEST_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return registries.small.put_manifest(repository, "latest", b" " * 1001)


@scenario("manifest", "PUT", 414, "TAG_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    tags = [f"v{number}" for number in range(101)]
    return registries.default.put_manifest(repository, DIGEST, b"{}", tag=tags)


@scenario("manifest", "PUT", 403, "DENIED")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    image = registries.plugins_only.image(repository)
    return registries.plugins_only.put_manifest(repository, "latest", image)


@scenario("manifest", "DELETE", 202)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest, _ = registries.default.push_image(repository)
    return ask(registries.default, method, f"/v2/{repository}/manifests/{digest}")


@scenario("manifest", "DELETE", 403, "DENIED")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest, _ = registries.immutable.push_image(repository, "v1")
    return ask(registries.immutable, method, f"/v2/{repository}/manifests/{digest}")


@scenario("manifest", "DELETE", 405, "UNSUPPORTED")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest, _ = registries.keeping.push_image(repository)
    return ask(registries.keeping, method, f"/v2/{repository}/manifests/{digest}")


# Blobs


BLOB_REQUESTS: list[tuple[str, int, str, dict[str, str]]] = [
    ("GET HEAD", 200, "", {}),
    ("GET HEAD", 206, "", {"Range": "bytes=1-2"}),
    ("GET HEAD", 304, "", {"If-None-Match": '"{digest}"'}),
    ("GET HEAD", 412, "", {"If-Match": f'"{DIGEST}"'}),
    ("GET HEAD", 416, "RANGE_INVALID", {"Range": "bytes=7-"}),
    ("DELETE", 202, "", {}),
]


def register_blob_request(methods: str, status: int, code: str, headers: dict[str, str]) -> None:
    @scenario("blob", methods, status, code)
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        digest = registries.default.push_blob(repository, b"content")
        given = {name: value.format(digest=digest) for name, value in headers.items()}
        return ask(registries.default, method, f"/v2/{repository}/blobs/{digest}", headers=given)


for row in BLOB_REQUESTS:
    register_blob_request(*row)


@scenario("blob", "GET HEAD", 307)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest = registries.redirecting.push_blob(repository, b"content")
    return ask(registries.redirecting, method, f"/v2/{repository}/blobs/{digest}")


@scenario("blob", "DELETE", 405, "UNSUPPORTED")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest = registries.keeping.push_blob(repository, b"content")
    return ask(registries.keeping, method, f"/v2/{repository}/blobs/{digest}")


# Uploads


@scenario("blob-upload", "POST", 202)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return ask(registries.default, method, f"/v2/{repository}/blobs/uploads/")


@scenario("blob-upload", "POST", 201)
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    digest = registries.default.push_blob(repository, b"content")
    query = {"mount": digest, "from": repository}
    return ask(registries.default, method, f"/v2/{repository}/mounted/blobs/uploads/", params=query)


@scenario("blob-upload", "POST", 400, "DIGEST_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    path = f"/v2/{repository}/blobs/uploads/?digest={DIGEST}"
    return ask(registries.default, method, path, content=b"other")


@scenario("blob-upload", "POST", 413, "SIZE_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    path = f"/v2/{repository}/blobs/uploads/?digest={DIGEST}"
    return ask(registries.small, method, path, content=bytes(1001))


# What an upload just begun is asked: methods, status, code, registry, query and the rest of the request.
UPLOAD_REQUESTS: list[tuple[str, int, str, str, dict[str, str], dict[str, Any]]] = [
    ("GET HEAD", 204, "", "default", {}, {}),
    ("PATCH", 202, "", "default", {}, {"content": b"content", "headers": OCTETS}),
    (
        "PATCH",
        415,
        "UNSUPPORTED",
        "default",
        {},
        {"content": b"a=b", "headers": {"Content-Type": "text/plain"}},
    ),
    (
        "PATCH PUT",
        400,
        "SIZE_INVALID",
        "default",
        BY_DIGEST,
        {"content": b"4", "headers": {"Content-Range": "0-9"}},
    ),
    ("PATCH PUT", 413, "SIZE_INVALID", "small", BY_DIGEST, {"content": bytes(1001)}),
    ("PUT", 201, "", "default", {"digest": EMPTY}, {}),
    ("PUT", 400, "DIGEST_INVALID", "default", {}, {"content": b"content"}),
    ("DELETE", 204, "", "default", {}, {}),
]


def register_upload_request(
    methods: str, status: int, code: str, name: str, query: dict[str, str], options: dict[str, Any]
) -> None:
    @scenario("blob-upload-chunk", methods, status, code)
    def _(registries: Registries, method: str, repository: str) -> httpx.Response:
        registry = getattr(registries, name)
        location = registry.start_upload(repository).headers["location"]
        return go_on(registry, method, location, query, **options)


for upload_row in UPLOAD_REQUESTS:
    register_upload_request(*upload_row)


@scenario("blob-upload-chunk", "PATCH PUT DELETE", 404, "BLOB_UPLOAD_UNKNOWN")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    return ask(registries.default, method, f"{signed_path(repository)}&digest={DIGEST}")


@scenario("blob-upload-chunk", "PATCH PUT DELETE", 404, "BLOB_UPLOAD_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    upload = registries.default.start_upload(repository).headers["docker-upload-uuid"]
    path = signed_path(repository, upload, secret="another")
    return ask(registries.default, method, f"{path}&digest={DIGEST}")


@scenario("blob-upload-chunk", "PATCH PUT DELETE", 416, "RANGE_INVALID")
def _(registries: Registries, method: str, repository: str) -> httpx.Response:
    location = registries.default.start_upload(repository).headers["location"]
    assert go_on(registries.default, "PATCH", location, content=b"first").status_code == 202
    # The same URL once more: its state is of before.
    answer = go_on(registries.default, method, location, BY_DIGEST)
    assert answer.headers["range"] == "0-4"
    return answer


# The tests


def documented() -> dict[Key, list[Response]]:
    found: dict[Key, list[Response]] = {}
    for route in TABLE:
        for method in route.methods:
            for request in method.requests:
                for response in (*request.successes, *request.failures):
                    for code in [each.name for each in response.codes] or [""]:
                        key = (route.name, method.method, response.status, code)
                        found.setdefault(key, []).append(response)
    return found


DOCUMENTED = documented()


@pytest.fixture(scope="module")
def registries(
    start_registry: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registries]:
    return Registries(start_registry, tmp_path_factory.mktemp("registries"))


def test_every_documented_response_has_a_scenario_and_every_scenario_is_documented() -> None:
    assert set(SCENARIOS) == set(DOCUMENTED)


@pytest.mark.parametrize("key", sorted(DOCUMENTED), ids=lambda key: "-".join(map(str, key)).rstrip("-"))
def test_a_documented_response_is_what_the_registry_answers(registries: Registries, key: Key) -> None:
    _, method, status, code = key
    answer = SCENARIOS[key](registries, method, f"documented/{uuid.uuid4().hex}")
    assert answer.status_code == status, answer.text
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    if method == "HEAD" or status in (204, 304):
        assert answer.content == b""
    elif code:
        assert [error["code"] for error in answer.json()["errors"]] == [code]
    promised = [{header.name for header in response.headers} for response in DOCUMENTED[key]]
    missing = {name for name in set.intersection(*promised) - AT_TIMES if name not in answer.headers}
    assert not missing
