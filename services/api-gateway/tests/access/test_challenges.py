"""What a refused client is told, to the letter; and how what it sends is read."""

from __future__ import annotations

from typing import Any

import pytest

from api_gateway.access import AccessRecord, ChallengeError, Grant, Resource
from api_gateway.access.challenge import MalformedCredentialsError, challenge, credentials, scope_of
from api_gateway.access.silly import SillyController
from api_gateway.headers import Headers
from moorage.config.auth import Silly

PULL = AccessRecord("repository", "team/app", "pull")
PUSH = AccessRecord("repository", "team/app", "push")
PULL_BASE = AccessRecord("repository", "team/base", "pull", optional=True)
CATALOG = AccessRecord("registry", "catalog", "*")


def test_a_challenge_quotes_its_parameters_and_leaves_out_the_empty_ones() -> None:
    text = challenge("Bearer", realm='a "b" \\c', service="é", scope="", error="invalid_token")
    assert text == 'Bearer realm="a \\"b\\" \\\\c",service="é",error="invalid_token"'


@pytest.mark.parametrize(
    ("records", "scope"),
    [
        ([], ""),
        ([PULL], "repository:team/app:pull"),
        ([PULL, PUSH, PULL], "repository:team/app:pull,push"),
        ([PULL, PUSH, PULL_BASE], "repository:team/app:pull,push repository:team/base:pull"),
        ([CATALOG], "registry:catalog:*"),
    ],
)
def test_a_scope_names_each_resource_once(records: list[AccessRecord], scope: str) -> None:
    assert scope_of(records) == scope


@pytest.mark.parametrize("sent", ["Basic abc", "basic abc", "BASIC   abc ", " Basic abc"])
def test_the_scheme_is_read_in_any_case(sent: str) -> None:
    assert credentials(Headers([(b"authorization", sent.encode())]), "basic") == "abc"


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"")], [(b"authorization", b" ")]])
def test_no_credentials_are_none(headers: list[tuple[bytes, bytes]]) -> None:
    assert credentials(Headers(headers), "basic") is None


@pytest.mark.parametrize("lines", [["Bearer abc"], ["Basicabc"], ["Basic YTpi", "Basic Yzpk"]])
def test_other_credentials_than_one_field_of_the_scheme_are_refused(lines: list[str]) -> None:
    with pytest.raises(MalformedCredentialsError) as caught:
        credentials(Headers([(b"authorization", line.encode()) for line in lines]), "basic")
    assert "abc" not in str(caught.value)


async def test_silly_asks_for_one_scope_an_action_and_takes_anything(request_with: Any) -> None:
    controller = SillyController(Silly(realm="test-realm", service="test-service"))
    with pytest.raises(ChallengeError) as caught:
        await controller.authorize(request_with(), [PULL, PUSH])
    assert caught.value.headers == [
        (
            b"www-authenticate",
            b'Bearer realm="test-realm",service="test-service",'
            b'scope="repository:team/app:pull repository:team/app:push"',
        )
    ]
    assert caught.value.http_status == 401
    assert caught.value.entries[0].detail == [
        {"Type": "repository", "Class": "", "Name": "team/app", "Action": "pull"},
        {"Type": "repository", "Class": "", "Name": "team/app", "Action": "push"},
    ]
    grant = await controller.authorize(request_with(("Authorization", "whatever")), [PULL])
    assert grant == Grant("silly")


async def test_silly_asks_for_no_scope_where_none_is_needed(request_with: Any) -> None:
    controller = SillyController(Silly(realm="r", service="s"))
    with pytest.raises(ChallengeError) as caught:
        await controller.authorize(request_with(("Authorization", "")), [])
    assert caught.value.headers == [(b"www-authenticate", b'Bearer realm="r",service="s"')]
    assert caught.value.entries[0].detail is None


def test_a_grant_allows_what_it_names_letter_by_letter() -> None:
    grant = Grant("ann", (Resource("repository", "team/app", frozenset({"pull", "*"})),))
    assert grant.allows(PULL)
    for type_, name, action in [
        ("repository", "team/app", "push"),
        ("repository", "team/app2", "pull"),
        ("repository", "team", "pull"),
        ("repository(plugin)", "team/app", "pull"),
        ("registry", "team/app", "pull"),
    ]:
        assert not grant.allows(AccessRecord(type_, name, action))
    assert grant.allows(AccessRecord("repository", "team/app", "*"))


def test_a_grant_of_everything_allows_everything_and_names_no_class() -> None:
    assert Grant("ann").allows(CATALOG)
    assert Grant("ann").class_of("team/app") == ""


@pytest.mark.parametrize(("named", "counts"), [("", "image"), ("image", "image"), ("plugin", "plugin")])
def test_a_repository_that_is_granted_without_a_class_is_of_images(named: str, counts: str) -> None:
    resources = (
        Resource("repository", "team/app", frozenset({"pull"}), "other"),
        Resource("repository", "team/app", frozenset({"pull", "push"}), named),
    )
    assert Grant("ann", resources).class_of("team/app") == counts
    assert Grant("ann", resources).class_of("team/other") == "image"
