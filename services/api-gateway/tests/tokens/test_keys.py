from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from structlog.testing import capture_logs

from api_gateway.tokens.keys import load_keys
from moorage.config import ConfigurationError


def private_pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def written(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def test_a_key_that_is_not_there_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "token.pem"
    first = load_keys(str(path), ())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_keys(str(path), ()).signing.kid == first.signing.kid
    assert first.signing.algorithm == "ES256"
    assert [each.name for each in tmp_path.iterdir()] == ["token.pem"]


def test_of_many_that_start_at_a_time_one_makes_the_key_for_all(tmp_path: Path) -> None:
    path = str(tmp_path / "token.pem")
    with ThreadPoolExecutor(16) as threads:
        rings = list(threads.map(lambda _: load_keys(path, ()), range(32)))
    assert len({ring.signing.kid for ring in rings}) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["token.pem"]


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(ec.generate_private_key(ec.SECP256R1()), "ES256"), (ed25519.Ed25519PrivateKey.generate(), "EdDSA")],
)
def test_a_key_that_is_given_signs_and_its_public_half_is_shown(tmp_path: Path, key, algorithm: str) -> None:
    ring = load_keys(written(tmp_path, "a.pem", private_pem(key)), ())
    assert ring.signing.algorithm == algorithm
    (jwk,) = ring.jwks["keys"]
    assert (jwk["alg"], jwk["use"], jwk["kid"]) == (algorithm, "sig", ring.signing.kid)
    assert "d" not in jwk


def test_previous_keys_verify_private_or_public(tmp_path: Path) -> None:
    old, older = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    previous = [
        written(tmp_path, "old.pem", private_pem(old)),
        written(tmp_path, "older.pem", public_pem(older)),
    ]
    ring = load_keys(str(tmp_path / "new.pem"), previous)
    assert len(ring.all) == 3
    assert ring.all[0] is ring.signing
    assert [key.private is None for key in ring.all] == [False, False, True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no PEM key"),
        (b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n", "holds no PEM key"),
        (private_pem(rsa.generate_private_key(65537, 2048)), "another kind than P-256 or Ed25519"),
        (private_pem(ec.generate_private_key(ec.SECP384R1())), "another kind than P-256 or Ed25519"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "a private one is needed to sign"),
        (
            private_pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"word")),
            "holds no PEM key without a password",
        ),
    ],
)
def test_a_file_without_a_key_that_can_sign_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = written(tmp_path, "a.pem", content)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        load_keys(path, ())
    assert caught.value.problems[0].key == "auth.token.server.key"
    assert Path(path).read_bytes() == content


def test_a_previous_key_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_keys(str(tmp_path / "a.pem"), [str(tmp_path / "absent.pem")])
    assert caught.value.problems[0].key == "auth.token.server.previouskeys[0]"
    assert not (tmp_path / "absent.pem").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_keys(str(tmp_path / "absent" / "a.pem"), ())
    assert caught.value.problems[0].key == "auth.token.server.key"


def test_a_key_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    load_keys(str(path), ())
    path.chmod(0o644)
    with capture_logs() as lines:
        load_keys(str(path), ())
    assert [line["log_level"] for line in lines] == ["warning"]


def test_secrets_are_each_purpose_s_own_and_no_text_shows_them(tmp_path: Path) -> None:
    key = load_keys(str(tmp_path / "a.pem"), ()).signing
    other = load_keys(str(tmp_path / "b.pem"), ()).signing
    secrets = {key.secret("a"), key.secret("b"), other.secret("a")}
    assert len(secrets) == 3
    assert {len(secret) for secret in secrets} == {32}
    assert key.secret("a") == key.secret("a")
    assert "private" not in repr(key).lower()
