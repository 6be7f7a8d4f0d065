"""`auth.token.server` and `policy.tags`: what may be written, and what is said of what may not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from moorage.config import Configuration, ConfigurationError, parse

SERVER: dict[str, Any] = {"htpasswd": "/etc/moorage/htpasswd", "key": "/var/lib/moorage/token.pem"}
RULE: dict[str, Any] = {"subjects": ["authenticated"], "repositories": ["**"], "actions": ["pull"]}


def read(server: dict[str, Any], *, http: dict[str, Any] | None = None, **token: Any) -> Configuration:
    document = {"version": 0.1, "storage": "inmemory", "auth": {"token": {"server": server, **token}}}
    if http:
        document["http"] = http
    return parse(yaml.safe_dump(document), {})


def problems(server: dict[str, Any], **further: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(server, **further)
    return [str(problem) for problem in caught.value.problems]


def test_realm_service_and_issuer_may_be_left_out() -> None:
    token = read(SERVER).auth.token
    assert token is not None
    assert (token.service, token.issuer, token.finds_own_realm) == ("moorage", "moorage", True)
    assert token.server is not None
    assert (token.server.path, token.server.expiration) == ("/token", 300.0)


def test_what_is_given_counts() -> None:
    token = read(SERVER, realm="https://id.example/token", service="a", issuer="b").auth.token
    assert token is not None
    assert (token.realm, token.service, token.issuer) == ("https://id.example/token", "a", "b")
    assert not token.finds_own_realm


def test_without_a_server_realm_service_and_issuer_are_required() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("version: 0.1\nstorage: inmemory\nauth: {token: {server: }}\n", {})
    assert {problem.key for problem in caught.value.problems} >= {"auth.token.realm", "auth.token.service"}


@pytest.mark.parametrize(
    "foreign",
    [
        {"jwks": "/keys.json"},
        {"rootcertbundle": "/roots.pem"},
        {"signingalgorithms": ["ES256"]},
        {"autoredirect": True},
    ],
)
def test_what_is_for_another_token_server_is_refused(foreign: dict[str, Any]) -> None:
    (problem,) = problems(SERVER, **foreign)
    assert problem == (
        f"auth.token: with 'server' tokens are signed by its own key: leave out {next(iter(foreign))}"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"key": None}, "auth.token.server.key: is required"),
        ({"htpasswd": None}, "auth.token.server.htpasswd: is required"),
        ({"expiration": "30s"}, "auth.token.server.expiration: must be at least 60s"),
        ({"path": "token"}, "auth.token.server.path: must be '/' and path segments"),
        ({"path": "/v2/token"}, "auth.token.server.path: /v2/token is where the V2 API is"),
        ({"failures": {"burst": 0}}, "auth.token.server.failures.burst: must be more than zero"),
        ({"rule": []}, "auth.token.server.rule: unknown key, did you mean 'rules'?"),
    ],
)
def test_a_mistake_is_named_with_its_key(changes: dict[str, Any], problem: str) -> None:
    (found,) = problems({key: value for key, value in {**SERVER, **changes}.items() if value is not None})
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"actions": ["pull", "read"]}, "actions[1]: must be one of pull, push, create, delete, catalog"),
        ({"actions": []}, "actions: must hold at least one entry"),
        ({"actions": None}, "actions: is required"),
        ({"repositories": [""]}, "repositories[0]: a glob must not be empty"),
        ({"repositories": []}, "repositories: must hold at least one entry"),
        ({"repositories": ["team/[a]"]}, "repositories[0]: not a glob"),
        ({"repositories": ["${user}-*"]}, "repositories[0]: not a glob"),
        ({"repositories": ["home/${account}"]}, "repositories[0]: not a glob"),
        ({"subjects": ["everybody"]}, "subjects[0]: not a subject: 'everybody'"),
        ({"subjects": ["user:"]}, "subjects[0]: not a subject: 'user:': no name"),
        (
            {"subjects": ["user:ada", "group:absent"]},
            "subjects[1]: no such group in auth.token.server.groups",
        ),
        ({"allow": True}, "allow: unknown key"),
    ],
)
def test_a_mistake_in_a_rule_is_named_with_its_place(changes: dict[str, Any], problem: str) -> None:
    rule = {key: value for key, value in {**RULE, **changes}.items() if value is not None}
    (found,) = problems({**SERVER, "rules": [RULE, rule]})
    assert found.startswith(f"auth.token.server.rules[1].{problem}")


def test_groups_and_placeholders_are_read() -> None:
    token = read(
        {
            **SERVER,
            "groups": {"developers": ["ada", "grace"]},
            "rules": [
                {
                    "subjects": "group:developers",
                    "repositories": ["home/${user}/**", "${user}"],
                    "actions": "push",
                }
            ],
        }
    ).auth.token
    assert token is not None
    assert token.server is not None
    assert token.server.groups == {"developers": ("ada", "grace")}
    assert token.server.rules[0].subjects == ("group:developers",)


def test_a_prefix_moves_the_api_away_from_the_path() -> None:
    assert problems({**SERVER, "path": "/a/v2"}, http={"prefix": "/a/"})
    assert read({**SERVER, "path": "/v2/token"}, http={"prefix": "/a/"})


def immutable(*rules: dict[str, Any]) -> Configuration:
    document = {"version": 0.1, "storage": "inmemory", "policy": {"tags": {"immutable": list(rules)}}}
    return parse(yaml.safe_dump(document), {})


def test_immutable_tags_are_named_by_globs() -> None:
    rules = immutable({"repositories": "**", "tags": ["v*", "latest"]}).policy.tags.immutable
    assert [(rule.repositories, rule.tags, rule.allowdelete) for rule in rules] == [
        (("**",), ("v*", "latest"), False)
    ]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"repositories": "**"}, "policy.tags.immutable[0].tags: is required"),
        ({"repositories": [], "tags": "v*"}, "policy.tags.immutable[0].repositories: must hold at least one"),
        ({"repositories": "**", "tags": "v[0-9]"}, "policy.tags.immutable[0].tags[0]: not a glob"),
    ],
)
def test_a_mistake_in_the_policy_is_named_with_its_place(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        immutable(rule)
    (found,) = map(str, caught.value.problems)
    assert found.startswith(problem)
