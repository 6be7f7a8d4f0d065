"""Accounts that come, change and go; passwords that are guessed; a registry that starts again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import yaml
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from api_gateway.main import run
from moorage.config import ConfigurationError, parse
from support.accounts import write_accounts
from support.processes import wait_until

RULES = [
    {"subjects": ["anonymous"], "repositories": ["**"], "actions": ["pull"]},
    {"subjects": ["authenticated"], "repositories": ["**"], "actions": ["push"]},
]


@pytest.fixture
def new_server(tmp_path: Path) -> dict[str, Any]:
    """`auth.token.server` of this test alone, with the account ada."""
    write_accounts(tmp_path / "htpasswd", {"ada": "first"})
    return {
        "htpasswd": str(tmp_path / "htpasswd"),
        "key": str(tmp_path / "token.pem"),
        "rules": RULES,
        "failures": {"burst": 3, "interval": "1h"},
    }


def ask(http: httpx.Client, user: str, password: str, **query: str) -> httpx.Response:
    return http.get("/token", params=query, auth=(user, password))


def refresh(http: httpx.Client, token: str) -> httpx.Response:
    return http.post("/token", data={"grant_type": "refresh_token", "refresh_token": token, "client_id": "x"})


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"moorage_gateway_{name}_total", labels) or 0.0


def test_a_refresh_token_ends_with_the_password_and_with_the_account(start_registry, new_server) -> None:
    http = start_registry(alone=True, auth={"token": {"server": new_server}}).client
    path = Path(new_server["htpasswd"])
    token = ask(http, "ada", "first", offline_token="true").json()["refresh_token"]
    assert refresh(http, token).status_code == 200
    write_accounts(path, {"ada": "second", "grace": "x"})
    # The file is looked at once a second.
    wait_until(lambda: refresh(http, token).status_code == 401, timeout=10, what="the old password is over")
    new = ask(http, "ada", "second", offline_token="true").json()["refresh_token"]
    assert refresh(http, new).status_code == 200
    write_accounts(path, {"grace": "x"})
    wait_until(lambda: refresh(http, new).status_code == 401, timeout=10, what="the account is gone")


def test_a_file_that_cannot_be_read_again_changes_nothing(start_registry, new_server) -> None:
    http = start_registry(alone=True, auth={"token": {"server": new_server}}).client
    token = ask(http, "ada", "first", offline_token="true").json()["refresh_token"]
    before = counted("access_reload_failures")
    Path(new_server["htpasswd"]).write_text("no colon here\n")
    wait_until(lambda: counted("access_reload_failures") > before, timeout=10, what="the bad file is counted")
    assert refresh(http, token).status_code == 200
    assert ask(http, "ada", "first").status_code == 200


def test_a_registry_that_starts_again_takes_the_tokens_of_before(start_registry, new_server) -> None:
    settings = {"auth": {"token": {"server": new_server}}}
    http = start_registry(alone=True, **settings).client
    answer = ask(http, "ada", "first", offline_token="true").json()
    http = start_registry(alone=True, **settings).client
    headers = {"Authorization": f"Bearer {answer['token']}"}
    assert http.get("/v2/", headers=headers).status_code == 200
    assert refresh(http, answer["refresh_token"]).status_code == 200


def test_a_new_key_takes_the_tokens_of_the_previous_one(start_registry, new_server, tmp_path: Path) -> None:
    http = start_registry(alone=True, auth={"token": {"server": new_server}}).client
    answer = ask(http, "ada", "first", offline_token="true").json()
    rotated = {**new_server, "key": str(tmp_path / "new.pem"), "previouskeys": [new_server["key"]]}
    http = start_registry(alone=True, auth={"token": {"server": rotated}}).client
    headers = {"Authorization": f"Bearer {answer['token']}"}
    assert http.get("/v2/", headers=headers).status_code == 200
    assert refresh(http, answer["refresh_token"]).status_code == 200
    assert len(http.get("/token/jwks.json").json()["keys"]) == 2
    without = {**new_server, "key": str(tmp_path / "new.pem")}
    http = start_registry(alone=True, auth={"token": {"server": without}}).client
    assert http.get("/v2/", headers=headers).status_code == 401
    assert refresh(http, answer["refresh_token"]).status_code == 401


def test_who_guesses_passwords_has_to_wait(start_registry, new_server) -> None:
    http = start_registry(alone=True, auth={"token": {"server": new_server}}).client
    assert [ask(http, "ada", f"guess {number}").status_code for number in range(3)] == [401] * 3
    answer = ask(http, "ada", "first")
    assert answer.status_code == 429
    assert answer.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert 3000 < int(answer.headers["retry-after"]) <= 3600
    posted = http.post(
        "/token", data={"grant_type": "password", "username": "ada", "password": "first", "client_id": "x"}
    )
    assert (posted.status_code, posted.json()["error"]) == (429, "temporarily_unavailable")
    assert posted.headers["retry-after"]
    # Neither other clients behind a trusted proxy, nor those without an account, wait for it.
    assert ask(http, "grace", "x").status_code == 401
    other = http.get("/token", auth=("ada", "first"), headers={"X-Forwarded-For": "192.0.2.7"})
    assert other.status_code == 200
    assert http.get("/token").status_code == 200


def test_right_passwords_never_have_to_wait(start_registry, new_server) -> None:
    http = start_registry(alone=True, auth={"token": {"server": new_server}}).client
    assert {ask(http, "ada", "first").status_code for _ in range(20)} == {200}


def test_what_is_issued_and_refused_is_counted_and_logged_without_secrets(start_registry, new_server) -> None:
    http = start_registry(alone=True, auth={"token": {"server": new_server}}).client
    before = counted("tokens_issued", grant="basic"), counted("tokens_refused", reason="password")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    with capture_logs() as lines:
        token = ask(http, "ada", "first", offline_token="true").json()
        ask(http, "ada", "my wrong password")
        refresh(http, token["refresh_token"][:-4] + "AAAA")
    assert counted("tokens_issued", grant="basic") == before[0] + 1
    assert counted("tokens_refused", reason="password") == before[1] + 1
    refusals = [line for line in lines if line["event"] == "login refused"]
    assert [line["account"] for line in refusals] == ["ada", ""]
    assert {line["http.request.remoteaddr"] for line in refusals} == {"127.0.0.1"}
    text = repr(lines)
    for secret in ("first", "my wrong password", token["refresh_token"], token["token"]):
        assert secret not in text


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"htpasswd": "/nowhere/htpasswd"}, "auth.token.server.htpasswd"),
        ({"key": "/nowhere/token.pem"}, "auth.token.server.key"),
        ({"previouskeys": ["/nowhere/old.pem"]}, "auth.token.server.previouskeys[0]"),
    ],
)
def test_a_file_that_is_missing_stops_the_gateway_before_it_listens(new_server, changes, key: str) -> None:
    server = {**new_server, **changes}
    document = {"version": 0.1, "storage": "inmemory", "auth": {"token": {"server": server}}}
    config = parse(yaml.safe_dump(document), {})
    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(run(config, asyncio.Event()))
    assert [problem.key for problem in caught.value.problems] == [key]
