"""Where a challenge sends a client for its token."""

from __future__ import annotations

from typing import Any

import pytest

from api_gateway.access.token.controller import realm_of
from moorage.config import parse

OWN = "https://tokens.example/"
PROXY, STRANGER = "192.0.2.1", "192.0.2.9"


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "realm"),
    [
        ("", PROXY, {"Host": "asked.example:5000"}, OWN),
        (
            "autoredirect: true",
            STRANGER,
            {"Host": "asked.example:5000"},
            "https://asked.example:5000/auth/token",
        ),
        ("autoredirect: true", STRANGER, {}, OWN),
        ("autoredirect: true", STRANGER, {"Host": 'a",b="c'}, OWN),
        (
            "autoredirect: true, autoredirectpath: /t",
            PROXY,
            {"Host": "inside", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "outside"},
            "http://outside/t",
        ),
        ("autoredirect: true", PROXY, {"Host": "inside"}, "https://inside/auth/token"),
        (
            "autoredirect: true",
            STRANGER,
            {"Host": "asked", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "forged"},
            "https://asked/auth/token",
        ),
    ],
)
def test_a_client_is_sent_to_the_realm_or_to_the_host_that_it_asked(
    request_with: Any, settings: str, peer: str, headers: dict[str, str], realm: str
) -> None:
    request = request_with(*headers.items(), client=peer)
    assert realm_for(request, "", settings) == realm


def test_with_a_host_of_its_own_the_registry_sends_clients_there(request_with: Any) -> None:
    request = request_with(("Host", "asked.example"))
    assert realm_for(request, "host: 'http://own.example/prefix'", "autoredirect: true") == (
        "http://own.example/auth/token"
    )


def realm_for(request: Any, http: str, settings: str) -> str:
    token = f"realm: '{OWN}', service: s, issuer: i, jwks: /x, {settings}"
    document = (
        "version: 0.1\nstorage: inmemory\n"
        f"http: {{trustedproxies: [{PROXY}], {http}}}\n"
        f"auth: {{token: {{{token}}}}}\n"
    )
    config = parse(document, {})
    assert config.auth.token is not None
    return realm_of(config, config.auth.token)(request)
