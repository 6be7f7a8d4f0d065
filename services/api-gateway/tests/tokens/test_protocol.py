"""The token protocol over HTTP, on the real stack."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime

import jwt
import pytest

PASSWORDS = {"ada": "lovelace's", "grace": "hopper: with a colon", "ci": "robot", "ünal": "größe"}


def claims(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def access(token: str) -> set[str]:
    """What a token grants, a text for each resource."""
    return {f"{each['type']}:{each['name']}:{','.join(each['actions'])}" for each in claims(token)["access"]}


def test_a_challenge_names_the_service_s_own_address(registry) -> None:
    answer = registry.client.get("/v2/team/app/tags/list")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        f'Bearer realm="{registry.url}/token",service="moorage",scope="repository:team/app:pull"'
    )


def test_behind_a_trusted_proxy_that_is_the_address_that_clients_know(registry) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}
    answer = registry.client.get("/v2/", headers=headers)
    assert 'realm="https://registry.example/token"' in answer.headers["www-authenticate"]
    forged = registry.client.get("/v2/", headers={"Host": 'a",realm="b', **headers})
    assert forged.status_code == 400


def test_a_token_is_answered_as_the_protocol_has_it(client) -> None:
    answer = client.ask("ada", "repository:team/app:pull,push", service="moorage", account="ada")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"token", "access_token", "expires_in", "issued_at"}
    assert body["token"] == body["access_token"]
    assert body["expires_in"] == 300
    issued = datetime.fromisoformat(body["issued_at"])
    assert abs(issued.timestamp() - time.time()) < 30
    read = claims(body["token"])
    assert (read["sub"], read["aud"], read["iss"]) == ("ada", "moorage", "moorage")
    assert read["exp"] - read["iat"] == 300
    assert access(body["token"]) == {"repository:team/app:pull,push"}


@pytest.mark.parametrize("user", sorted(PASSWORDS))
def test_every_account_gets_in_with_its_password(client, user: str) -> None:
    token = client.token(user, f"repository:home/{user}/app:pull" if user.isascii() else "registry:catalog:*")
    assert claims(token)["sub"] == user
    headers = {"Authorization": f"Bearer {token}"}
    assert client.http.get("/v2/", headers=headers).status_code == 200


def test_less_than_was_asked_for_is_no_error(client) -> None:
    asked = ["repository:public/app:pull,push", "repository:team/app:pull", "chart:x:pull"]
    assert access(client.token("", *asked)) == {"repository:public/app:pull"}
    assert access(client.token("ada", *asked)) == {"repository:public/app:pull", "repository:team/app:pull"}
    assert access(client.token("ci", "repository:team/app:pull,push")) == set()


def test_a_token_opens_what_it_says_and_nothing_else(client) -> None:
    headers = client.bearer("ada", "repository:team/app:pull,push")
    answer = client.http.post("/v2/team/app/blobs/uploads/", headers=headers)
    assert answer.status_code == 202
    for method, path in [
        ("POST", "/v2/team/other/blobs/uploads/"),
        ("DELETE", "/v2/team/app/manifests/x"),
        ("GET", "/v2/_catalog"),
    ]:
        answer = client.http.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_who_may_pull_from_one_repository_alone_mounts_nothing_from_another(client) -> None:
    headers = client.bearer("grace", "repository:secret/app:pull,push")
    location = client.http.post("/v2/secret/app/blobs/uploads/", headers=headers).headers["location"]
    content = b"secret"
    digest = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    assert (
        client.http.put(
            location, params={**dict(query_of(location)), "digest": digest}, content=content, headers=headers
        ).status_code
        == 201
    )
    asked = ["repository:team/app:pull,push", "repository:secret/app:pull"]
    token = client.bearer("ada", *asked)
    mount = {"mount": digest, "from": "secret/app"}
    answer = client.http.post("/v2/team/app/blobs/uploads/", params=mount, headers=token)
    assert answer.status_code == 202
    assert client.http.head(f"/v2/team/app/blobs/{digest}", headers=token).status_code == 404
    allowed = client.bearer("grace", *asked)
    answer = client.http.post("/v2/team/app/blobs/uploads/", params=mount, headers=allowed)
    assert answer.status_code == 201


def query_of(location: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl, urlsplit

    return parse_qsl(urlsplit(location).query)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"service": "another"}, "no such service: 'another'; this one is 'moorage'"),
        ({"scope": "repository"}, "not of the form type:name:actions: 'repository'"),
        ({"scope": "repository:A:pull"}, "not a repository's name: 'repository:A:pull'"),
        ({"scope": "repository:a:"}, "not actions, or none: 'repository:a:'"),
    ],
)
def test_a_request_that_cannot_be_meant_is_told_why(client, parameters, sentence: str) -> None:
    answer = client.http.get("/token", params=parameters)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["code"], error["message"]) == ("UNSUPPORTED", sentence)
    posted = client.post(grant_type="password", username="ada", password=PASSWORDS["ada"], **parameters)
    assert posted.status_code == 400
    assert posted.json()["error"] == ("invalid_scope" if "scope" in parameters else "invalid_request")
    assert posted.json()["error_description"] == sentence


def basic(text: bytes | str) -> dict[str, str]:
    content = text.encode() if isinstance(text, str) else text
    return {"Authorization": f"Basic {base64.b64encode(content).decode()}"}


@pytest.mark.parametrize(
    "headers", [basic("ada:wrong"), basic("nobody:x"), basic("ada:"), basic("docker:lovelace's")]
)
def test_wrong_credentials_are_refused_with_a_challenge(client, headers) -> None:
    answer = client.http.get("/token", params={"scope": "repository:public/app:pull"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="moorage",charset="UTF-8"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer abc"},
        {"Authorization": "Basic not-base64!"},
        basic("no colon"),
        basic(b"\xff\xfe:x"),
        basic(":x"),
    ],
)
def test_credentials_that_cannot_be_read_are_a_mistake_and_not_nobody(client, headers) -> None:
    answer = client.http.get("/token", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"].startswith("Authorization: ")


def test_where_no_rule_is_about_anonymous_nobody_gets_a_token(start_registry, server_settings) -> None:
    rules = [{"subjects": ["authenticated"], "repositories": ["**"], "actions": ["pull"]}]
    registry = start_registry(alone=True, auth={"token": {"server": {**server_settings, "rules": rules}}})
    answer = registry.client.get("/token", params={"scope": "repository:public/app:pull"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert registry.client.get("/token", headers=basic("ci:robot")).status_code == 200


# OAuth 2.0


def test_the_password_grant_gives_what_the_get_gives(client) -> None:
    answer = client.post(
        grant_type="password",
        username="grace",
        password=PASSWORDS["grace"],
        service="moorage",
        scope="repository:team/app:pull,push repository:public/app:pull",
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert "refresh_token" not in body
    assert body["scope"] == "repository:team/app:pull,push repository:public/app:pull"
    assert access(body["access_token"]) == {"repository:team/app:pull,push", "repository:public/app:pull"}


def test_a_refresh_token_is_asked_for_in_either_way_and_gives_tokens_of_other_scopes(client) -> None:
    by_get = client.ask("ada", offline_token="true").json()["refresh_token"]
    by_post = client.post(
        grant_type="password", username="ada", password=PASSWORDS["ada"], access_type="offline"
    ).json()["refresh_token"]
    for refresh_token in (by_get, by_post):
        answer = client.post(
            grant_type="refresh_token", refresh_token=refresh_token, scope="repository:team/app:pull"
        )
        assert answer.status_code == 200
        assert "refresh_token" not in answer.json()
        assert access(answer.json()["access_token"]) == {"repository:team/app:pull"}
        kept = client.post(
            grant_type="refresh_token", refresh_token=refresh_token, access_type="offline"
        ).json()
        assert kept["refresh_token"] == refresh_token


def test_nobody_gets_no_refresh_token(client) -> None:
    assert "refresh_token" not in client.ask("", offline_token="true").json()


def test_a_refresh_token_is_no_access_token(client) -> None:
    refresh_token = client.ask("grace", offline_token="true").json()["refresh_token"]
    answer = client.http.get("/v2/_catalog", headers={"Authorization": f"Bearer {refresh_token}"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "ada"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "password", "username": "ada", "password": "wrong"}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "a.b.c"}, 401, "invalid_grant"),
    ],
)
def test_a_refusal_has_the_error_of_oauth_and_that_of_the_registry(client, form, status, error) -> None:
    answer = client.post(**form)
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["error"] == error
    assert body["errors"][0]["message"] == body["error_description"]
    assert "wrong" not in answer.text


def test_a_form_of_another_type_or_with_a_field_twice_or_too_large_is_refused(client) -> None:
    answer = client.http.post("/token", content=b"{}", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    twice = b"grant_type=password&username=ada&username=grace&password=x"
    answer = client.http.post("/token", content=twice, headers=form)
    assert (answer.status_code, answer.json()["error_description"]) == (
        400,
        "username is there more than once",
    )
    answer = client.http.post("/token", content=b"a=" + b"x" * 70_000, headers=form)
    assert answer.status_code == 413
    answer = client.http.post("/token", content=b"grant_type=%ff", headers=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_another_method_is_told_which_there_are(client, method: str) -> None:
    answer = client.http.request(method, "/token")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


# Keys


def test_the_keys_are_published_and_verify_the_tokens(client) -> None:
    answer = client.http.get("/token/jwks.json")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    keys = jwt.PyJWKSet.from_json(answer.text)
    token = client.token("ada", "repository:team/app:pull")
    key = keys[jwt.get_unverified_header(token)["kid"]]
    verified = jwt.decode(token, key.key, algorithms=["ES256"], audience="moorage", issuer="moorage")
    assert verified["sub"] == "ada"
    assert all("d" not in each for each in json.loads(answer.text)["keys"])


def test_another_gateway_with_the_same_files_takes_the_tokens(client, registry) -> None:
    with registry.second_gateway() as other:
        headers = client.bearer("ada", "repository:team/app:pull,push")
        assert other.post("/v2/team/app/blobs/uploads/", headers=headers).status_code == 202
        refresh_token = client.ask("ada", offline_token="true").json()["refresh_token"]
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "x"}
        assert other.post("/token", data=form).status_code == 200
