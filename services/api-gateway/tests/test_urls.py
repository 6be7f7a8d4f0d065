"""Where the URLs in answers point."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.forwarded import client_address, is_host
from api_gateway.headers import Headers
from api_gateway.urls import Origins
from moorage.config import parse

PROXY = "10.0.0.1"
STRANGER = "203.0.113.9"
DIGEST = "sha256:" + "a" * 64


def headers(*fields: tuple[str, str]) -> Headers:
    return Headers([(name.lower().encode(), value.encode("latin-1")) for name, value in fields])


def trusts(peer: str | None) -> bool:
    return peer is None or peer.startswith("10.")


def origins(host: str | None = None, relative: bool = False, prefix: str = "/") -> Origins:
    return Origins(host=host, relative=relative, prefix=prefix, trusts=trusts)


def blob_url(
    rules: Origins, *fields: tuple[str, str], peer: str | None = STRANGER, scheme: str = "http"
) -> str:
    return rules.urls(peer=peer, scheme=scheme, headers=headers(*fields)).blob("team/app", DIGEST)


PATH = f"/v2/team/app/blobs/{DIGEST}"


def test_the_origin_is_the_requests_own_host_and_scheme() -> None:
    assert blob_url(origins(), ("Host", "registry.example:5000")) == f"http://registry.example:5000{PATH}"
    assert blob_url(origins(), ("Host", "[::1]:5000"), scheme="https") == f"https://[::1]:5000{PATH}"


def test_the_configured_host_wins_over_everything() -> None:
    rules = origins(host="https://registry.example/base/")
    spoofed = [("Host", "evil.example"), ("X-Forwarded-Host", "evil.example")]
    assert blob_url(rules, *spoofed, peer=PROXY) == f"https://registry.example/base{PATH}"


def test_relative_urls_have_no_origin_but_the_prefix() -> None:
    rules = origins(host="https://registry.example", relative=True, prefix="/registry/")
    assert blob_url(rules, ("Host", "registry.example")) == f"/registry{PATH}"


def test_the_prefix_stands_before_the_path() -> None:
    assert blob_url(origins(prefix="/registry/"), ("Host", "h")) == f"http://h/registry{PATH}"


@pytest.mark.parametrize(
    "forwarded",
    [
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "pub.example:8443")],
        [("X-Forwarded-Proto", "HTTPS, http"), ("X-Forwarded-Host", "pub.example:8443, inner")],
        [("Forwarded", "for=1.2.3.4;proto=https;host=pub.example:8443")],
        [("Forwarded", 'For="[2001:db8::1]:4711"; Proto=https; Host="pub.example:8443", for=5.6.7.8;host=x')],
        [("Forwarded", "proto=https;host=pub.example:8443"), ("X-Forwarded-Host", "other.example")],
    ],
)
def test_what_a_trusted_proxy_forwards_is_the_origin(forwarded: list[tuple[str, str]]) -> None:
    fields = [("Host", "inner:5000"), *forwarded]
    assert blob_url(origins(), *fields, peer=PROXY) == f"https://pub.example:8443{PATH}"


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"])
def test_what_a_stranger_forwards_does_not_count(name: str) -> None:
    value = "proto=https;host=evil.example" if name == "Forwarded" else "evil.example"
    assert blob_url(origins(), ("Host", "h:5000"), (name, value)) == f"http://h:5000{PATH}"


@pytest.mark.parametrize(
    "value",
    [
        "evil.example/path",
        "user@evil.example",
        "evil.example\r\nX: y",
        "",
        "a b",
        "evil.example:port",
        "http://e",
    ],
)
def test_a_forwarded_host_that_is_none_is_left_aside(value: str) -> None:
    fields = [("Host", "h:5000"), ("X-Forwarded-Host", value)]
    assert blob_url(origins(), *fields, peer=PROXY) == f"http://h:5000{PATH}"


def test_a_forwarded_scheme_other_than_http_is_left_aside() -> None:
    fields = [("Host", "h"), ("X-Forwarded-Proto", "javascript")]
    assert blob_url(origins(), *fields, peer=PROXY).startswith("http://h/")


@pytest.mark.parametrize("host", ["", "evil.example/x", "a\tb", "x" * 300])
def test_a_request_without_a_usable_host_gets_no_origin(host: str) -> None:
    assert blob_url(origins(), ("Host", host)) == PATH


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_no_host_can_break_out_of_the_origin(text: str) -> None:
    url = blob_url(origins(), ("Host", text))
    assert url == PATH or (is_host(text) and url == f"http://{text}{PATH}")
    assert not set(url) & set('\r\n \t<>"@\\?#')


def test_an_upload_url_carries_its_state_percent_encoded() -> None:
    builder = origins(relative=True).urls(peer=None, scheme="http", headers=headers())
    assert builder.upload("a", "id", "x-_=") == "/v2/a/blobs/uploads/id?_state=x-_%3D"


def test_the_configuration_sets_the_rules() -> None:
    config = parse(
        "version: 0.1\nstorage: inmemory\nhttp: {host: 'https://pub.example'}\n",
        {},
    )
    assert blob_url(Origins.of(config, config.http.trusts), ("Host", "h")) == f"https://pub.example{PATH}"


# The client's address


@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        (STRANGER, [], STRANGER),
        (STRANGER, [("X-Forwarded-For", "1.2.3.4")], STRANGER),
        (PROXY, [("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        (PROXY, [("X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.9.9.9")], "1.2.3.4"),
        (PROXY, [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4:999")], "1.2.3.4"),
        (PROXY, [("X-Forwarded-For", "[2001:db8::7]:80")], "2001:db8::7"),
        (PROXY, [("X-Forwarded-For", "nonsense")], PROXY),
        (PROXY, [("X-Forwarded-For", "6.6.6.6, nonsense, 10.1.1.1")], "10.1.1.1"),
        (PROXY, [("X-Real-Ip", "1.2.3.4")], "1.2.3.4"),
        (PROXY, [("X-Real-Ip", '1.2.3.4" x')], PROXY),
        (None, [("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        (None, [], ""),
    ],
)
def test_the_clients_address_is_the_last_that_a_trusted_proxy_saw(
    peer: str | None, fields: list[tuple[str, str]], address: str
) -> None:
    assert client_address(peer, headers(*fields), trusts) == address
