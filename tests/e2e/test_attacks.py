"""Attacks that registries have met, by somebody with an account of their own and nothing else.

docs/access-control.md lists them all, with the tests of those that need no whole system.
"""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from support.accounts import write_accounts
from support.client import V2Client, error_codes, expect
from support.images import OCI_MANIFEST, Content, digest_of, make_image
from support.processes import free_port, peak_memory, reset_peak_memory
from support.registry import Up, running_up

PASSWORDS = {"owner": "the owner's password", "mallory": "mallory's own password"}
HTTP_SECRET = "the secret of this test's uploads"
RULES = [
    {
        "subjects": [f"user:{name}"],
        "repositories": [f"{name}/**"],
        "actions": ["pull", "push", "delete", "catalog"],
    }
    for name in PASSWORDS
]
PRIVATE, MINE = "owner/app", "mallory/app"
MIB = 1 << 20


class Guarded:
    """A registry with two accounts, and a debug server."""

    def __init__(self, up: Up, debug: str) -> None:
        self.up = up
        self.debug = debug
        self.secrets = [*PASSWORDS.values(), HTTP_SECRET]

    @contextmanager
    def client(self, user: str, *repositories: str) -> Iterator[V2Client]:
        """A client with the user's token: for all that it asked for, as far as the user may have it."""
        scopes = [f"repository:{name}:pull,push,delete" for name in repositories]
        with V2Client(self.up.url) as client:
            query = {"scope": [*scopes, "registry:catalog:*"], "offline_token": "true"}
            answer = client.http.get("/token", params=query, auth=(user, PASSWORDS[user]))
            issued = expect(answer, 200).json()
            self.secrets += [issued["token"], issued["refresh_token"]]
            client.http.headers["Authorization"] = f"Bearer {issued['token']}"
            yield client


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    debug = f"127.0.0.1:{free_port()}"
    server = {
        "htpasswd": str(write_accounts(folder / "htpasswd", PASSWORDS)),
        "key": str(folder / "key.pem"),
        "rules": RULES,
        "failures": {"burst": 1000},
    }
    config = {
        "version": 0.1,
        "storage": {"delete": {"enabled": True}},
        "http": {
            "secret": HTTP_SECRET,
            "workers": 1,
            "debug": {"addr": debug, "prometheus": {"enabled": True}},
        },
        "auth": {"token": {"server": server}},
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    with running_up(folder / "up", {"REGISTRY_CONFIGURATION_PATH": str(path)}) as up:
        yield Guarded(up, f"http://{debug}")


@pytest.fixture
def owner(guarded: Guarded) -> Iterator[V2Client]:
    with guarded.client("owner", PRIVATE) as client:
        yield client


@pytest.fixture
def mallory(guarded: Guarded) -> Iterator[V2Client]:
    """Asks for rights to everything, and gets those to her own."""
    with guarded.client("mallory", MINE, PRIVATE) as client:
        yield client


# Content of others


def without_ids(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """An answer without what differs each time."""
    varying = r"[0-9a-f]{8}-[0-9a-f-]{27}|_state=[^&]*|sha256:[0-9a-f]{64}"
    headers = {
        name: re.sub(varying, "…", value)
        for name, value in answer.headers.items()
        if name not in ("date", "x-request-id")
    }
    return answer.status_code, re.sub(varying, "…", answer.text), headers


@pytest.mark.parametrize("source", [PRIVATE, "owner/other", "", MINE])
def test_whoever_guesses_a_digest_mounts_nothing_and_learns_nothing(
    owner: V2Client, mallory: V2Client, source: str
) -> None:
    """CVE-2024-39897: a mount from what all repositories have, or from one that the caller may not read."""
    secret = owner.push_blob(PRIVATE, b"a secret layer " + uuid.uuid4().bytes)
    query = {"from": source} if source else {}
    there = mallory.start_upload(MINE, mount=secret, **query)
    gone = mallory.start_upload(MINE, mount=digest_of(uuid.uuid4().bytes), **query)
    assert there.status_code == 202
    assert without_ids(there) == without_ids(gone)
    for method in ("HEAD", "GET", "DELETE"):
        answers = [
            mallory.http.request(method, f"/v2/{MINE}/blobs/{digest}")
            for digest in (secret, digest_of(uuid.uuid4().bytes))
        ]
        assert answers[0].status_code == 404
        assert without_ids(answers[0]) == without_ids(answers[1])
        assert mallory.http.request(method, f"/v2/{PRIVATE}/blobs/{secret}").status_code == 401


def test_a_manifest_makes_nobody_s_layers_its_pusher_s(owner: V2Client, mallory: V2Client) -> None:
    image = make_image(91)
    owner.push_image(PRIVATE, "v1", image)
    answer = expect(mallory.put_manifest(MINE, "v1", image.manifest), 400)
    assert set(error_codes(answer)) == {"MANIFEST_BLOB_UNKNOWN"}
    index = {"schemaVersion": 2, "manifests": [image.manifest.descriptor()]}
    content = Content("application/vnd.oci.image.index.v1+json", json.dumps(index).encode())
    answer = expect(mallory.put_manifest(MINE, "all", content), 400)
    assert set(error_codes(answer)) == {"MANIFEST_BLOB_UNKNOWN"}
    expect(mallory.get_manifest(MINE, image.manifest.digest), 404)
    # Nor does an artifact that names it as its subject show it.
    referrers = mallory.http.get(f"/v2/{MINE}/referrers/{image.manifest.digest}")
    assert expect(referrers, 200).json()["manifests"] == []


def test_a_delete_takes_a_blob_from_its_repository_although_another_one_is_read(
    guarded: Guarded, owner: V2Client
) -> None:
    """CVE-2026-35172; with each cache in `services/metadata-service/tests/cache` and in `test_redis.py`."""
    with guarded.client("owner", PRIVATE, "owner/b") as both:
        digest = both.push_blob(PRIVATE, b"in two repositories")
        both.push_blob("owner/b", b"in two repositories")
        expect(both.http.delete(f"/v2/{PRIVATE}/blobs/{digest}"), 202)
        for _ in range(3):
            assert both.get_blob("owner/b", digest) == b"in two repositories"
            assert not both.has_blob(PRIVATE, digest)


def test_the_upload_of_another_repository_is_unknown(owner: V2Client, mallory: V2Client) -> None:
    """Quay CVE-2026-32589: whoever may push somewhere reads, changes or ends the uploads of others."""
    answer = expect(owner.start_upload(PRIVATE), 202)
    location = owner.location(answer)
    answer = expect(owner.http.patch(location, content=b"first half, "), 202)
    location = owner.location(answer)
    stolen = httpx.URL(location)
    for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
        for path in (stolen.path.replace(PRIVATE, MINE), stolen.path):
            url = stolen.copy_with(path=path)
            if method == "PUT":
                url = url.copy_merge_params({"digest": digest_of(b"mine")})
            answer = mallory.http.request(method, url, content=b"mine" if method[0] == "P" else None)
            if path == stolen.path:
                assert answer.status_code == 401
            elif method in ("GET", "HEAD"):
                assert answer.status_code == 404
            else:
                # The state in the URL was signed for the other repository.
                assert answer.status_code in (400, 404)
                assert error_codes(answer)[0] in ("BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN")
    whole = b"first half, second half"
    url = httpx.URL(location).copy_merge_params({"digest": digest_of(whole)})
    expect(owner.http.put(url, content=b"second half"), 201)
    assert owner.get_blob(PRIVATE, digest_of(whole)) == whole


def test_the_catalog_shows_nothing_of_others_not_even_in_its_pages(
    owner: V2Client, mallory: V2Client
) -> None:
    owner.push_image(PRIVATE, "v1", make_image(92))
    mallory.push_image(MINE, "v1", make_image(93))
    for query in ({}, {"n": "1"}, {"last": "a"}, {"n": "1", "last": "owner"}):
        answer = expect(mallory.http.get("/v2/_catalog", params=query), 200)
        assert "owner" not in answer.text
        assert set(answer.json()["repositories"]) <= {MINE}
        assert PRIVATE not in answer.headers.get("link", "")
    sealed = expect(mallory.http.get("/v2/_catalog", params={"_position": "b3duZXI="}), 400)
    assert error_codes(sealed) == ["PAGINATION_NUMBER_INVALID"]


# Scopes and names


@pytest.mark.parametrize(
    "scope",
    [
        "repository:mallory/../owner/app:pull",
        "repository:owner%2Fapp:pull",
        "repository:**:pull",
        "repository:mallory/app,owner/app:pull",
        "repository:MALLORY/app:pull",
        "repository:mallory/app\n:pull",
        "registry:catalog",
    ],
)
def test_a_scope_that_is_no_name_is_refused(guarded: Guarded, scope: str) -> None:
    auth = ("mallory", PASSWORDS["mallory"])
    expect(httpx.get(f"{guarded.up.url}/token", params={"scope": scope}, auth=auth), 400)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/mallory/../owner/app/manifests/v1",
        "/v2/mallory/%2e%2e/owner/app/manifests/v1",
        "/v2/mallory/app/..%2f..%2fowner/app/manifests/v1",
        "/v2/mallory%2F..%2Fowner/app/manifests/v1",
        "/v2//owner/app/manifests/v1",
        "/v2/owner/app/%6danifests/v1",
        "/v2/owner/app;x/manifests/v1",
        "/v2/owner/app/manifests/v1%00",
    ],
)
def test_no_way_of_writing_a_path_leads_around_access_control(
    guarded: Guarded, owner: V2Client, mallory: V2Client, path: str
) -> None:
    owner.push_image(PRIVATE, "v1", make_image(92))
    token = mallory.http.headers["Authorization"]
    with socket.create_connection(("127.0.0.1", guarded.up.port), timeout=30) as connection:
        # As it stands here: a client library would tidy it up.
        fields = f"Host: x\r\nAccept: */*\r\nAuthorization: {token}\r\nConnection: close"
        connection.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode("ascii"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 401, 404)
    assert make_image(92).manifest.content not in answer


# Too much of something


@pytest.mark.parametrize("n", ["-1", "1e9", "1000001", "2147483648", "9223372036854775808", "x", "", "٣"])
@pytest.mark.parametrize("path", ["_catalog", f"{MINE}/tags/list"])
def test_a_page_of_any_size_costs_no_memory(guarded: Guarded, mallory: V2Client, path: str, n: str) -> None:
    """CVE-2023-2253: as many strings were allocated as the client asked for."""
    mallory.push_image(MINE, "v1", make_image(93))
    (worker,) = guarded.up.workers("gateway")
    reset_peak_memory(worker.pid)
    before = peak_memory(worker.pid)
    answer = mallory.http.get(f"/v2/{path}", params={"n": n})
    assert answer.status_code in (200, 400)
    assert peak_memory(worker.pid) - before < 8 * MIB


def test_a_manifest_without_end_is_cut_off(guarded: Guarded, mallory: V2Client) -> None:
    """CVE-2017-11468: a body was read however long it went on."""
    (worker,) = guarded.up.workers("gateway")
    reset_peak_memory(worker.pid)
    before, piece, sent = peak_memory(worker.pid), b"[" * (256 * 1024), 0
    with socket.create_connection(("127.0.0.1", guarded.up.port), timeout=30) as connection:
        token = mallory.http.headers["Authorization"]
        connection.sendall(
            f"PUT /v2/{MINE}/manifests/v1 HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
            f"Content-Type: {OCI_MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode("ascii")
        )
        # Hung up on, as it should be.
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 256 * MIB:
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                sent += len(piece)
    assert sent < 64 * MIB
    assert peak_memory(worker.pid) - before < 64 * MIB


# What is told


def test_a_line_break_in_what_a_client_sends_makes_no_line_of_the_log(guarded: Guarded) -> None:
    marker = uuid.uuid4().hex
    for user in (f"a\r\n{marker}", f"a\n{marker}", f"a\u2028{marker}", f"a\x1b[2J{marker}"):
        auth = httpx.BasicAuth(user.encode(), b"guess")
        agent = {"User-Agent": f"x {marker}"}
        expect(httpx.get(f"{guarded.up.url}/token", auth=auth, headers=agent), 401)
    log = guarded.up.process.log.read_bytes()
    assert marker.encode() in log
    for line in log.split(b"\n"):
        assert not line.startswith(marker.encode())
        assert b"\r" not in line
        assert b"\x1b" not in line


def test_no_secret_is_told_to_anybody(guarded: Guarded, mallory: V2Client) -> None:
    expect(httpx.get(f"{guarded.up.url}/token", auth=("mallory", "a wrong guess")), 401)
    bad = {"Authorization": "Bearer a-token-that-is-none.b.c"}
    expect(httpx.get(f"{guarded.up.url}/v2/", headers=bad), 401)
    form = {"grant_type": "refresh_token", "refresh_token": "no.refresh.token", "client_id": "x"}
    expect(httpx.post(f"{guarded.up.url}/token", data=form), 401)
    mallory.push_image(MINE, "v1", make_image(93))
    told = {
        "the log": guarded.up.process.log.read_text(),
        "processes": "\n".join(" ".join(each.cmdline()) for each in guarded.up.process.tree()),
        "metrics": httpx.get(f"{guarded.debug}/metrics").text,
        "variables": httpx.get(f"{guarded.debug}/debug/vars", timeout=30).text,
        "health": httpx.get(f"{guarded.debug}/debug/health").text,
        "the document": httpx.get(f"{guarded.up.url}/openapi.json").text,
    }
    key = next(line for line in (guarded.up.folder.parent / "key.pem").read_text().splitlines()[1:])
    hashed = (guarded.up.folder.parent / "htpasswd").read_text().splitlines()[0].partition(":")[2]
    guesses = ["a wrong guess", "a-token-that-is-none", "no.refresh.token"]
    for where, text in told.items():
        assert text, where
        for secret in (*guarded.secrets, key, hashed, *guesses):
            assert secret not in text, where
