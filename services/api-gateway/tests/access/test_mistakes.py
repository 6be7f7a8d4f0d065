"""Mistakes in the files of access control: each is told with its key, before anything listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_gateway.preflight import check_usable
from moorage.config import ConfigurationError, parse
from support.accounts import write_accounts
from support.tokenserver import Issuer

TOKEN = "{token: {realm: 'https://t.example/', service: s, issuer: i, KEYS}}"
SERVER = "{token: {server: {htpasswd: FILE, key: KEY}}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "empty").touch()
    (tmp_path / "no-keys").write_text('{"keys": []}')
    (tmp_path / "jwks").write_text(Issuer().jwks())
    (tmp_path / "no-colon").write_text("no colon in this line\n")
    write_accounts(tmp_path / "users", {"ann": "a password"})
    return tmp_path


@pytest.mark.parametrize(
    ("auth", "key"),
    [
        (TOKEN.replace("KEYS", "jwks: DIR/absent"), "auth.token.jwks"),
        (TOKEN.replace("KEYS", "jwks: DIR/empty"), "auth.token.jwks"),
        (TOKEN.replace("KEYS", "jwks: DIR/no-keys"), "auth.token.jwks"),
        (TOKEN.replace("KEYS", "jwks: DIR"), "auth.token.jwks"),
        (TOKEN.replace("KEYS", "jwks: DIR/jwks, rootcertbundle: DIR/absent"), "auth.token.rootcertbundle"),
        (TOKEN.replace("KEYS", "rootcertbundle: DIR/empty"), "auth.token.rootcertbundle"),
        (TOKEN.replace("KEYS", "rootcertbundle: DIR/jwks"), "auth.token.rootcertbundle"),
        (
            TOKEN.replace("KEYS", "jwks: DIR/jwks, signingalgorithms: [RS256]"),
            "auth.token.signingalgorithms",
        ),
        ("{htpasswd: {realm: r, path: DIR/no-colon}}", "auth.htpasswd.path"),
        ("{htpasswd: {realm: r, path: DIR}}", "auth.htpasswd.path"),
        ("{htpasswd: {realm: r, path: DIR/empty/htpasswd}}", "auth.htpasswd.path"),
        (SERVER.replace("FILE", "DIR/absent").replace("KEY", "DIR/key"), "auth.token.server.htpasswd"),
        (SERVER.replace("FILE", "DIR/no-colon").replace("KEY", "DIR/key"), "auth.token.server.htpasswd"),
        (SERVER.replace("FILE", "DIR/users").replace("KEY", "DIR/empty"), "auth.token.server.key"),
        (SERVER.replace("FILE", "DIR/users").replace("KEY", "DIR/absent/key"), "auth.token.server.key"),
        (
            SERVER.replace("FILE", "DIR/users").replace("KEY", "DIR/key, previouskeys: [DIR/absent]"),
            "auth.token.server.previouskeys[0]",
        ),
    ],
)
def test_a_mistake_in_a_file_is_an_error_of_its_key(folder: Path, auth: str, key: str) -> None:
    document = f"version: 0.1\nstorage: inmemory\nauth: {auth}\n".replace("DIR", str(folder))
    config = parse(document, {})
    with pytest.raises(ConfigurationError) as caught:
        check_usable(config)
    assert str(caught.value).startswith(f"{key}: ")
    assert "\n" not in str(caught.value)
