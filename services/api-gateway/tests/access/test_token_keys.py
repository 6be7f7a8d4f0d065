"""The files of `auth.token`: which keys are trusted, under which ids, for which algorithms."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from api_gateway.access.token.keys import fingerprint, load_keys, thumbprint
from moorage.config import ConfigurationError
from moorage.config.auth import Token
from support.certificates import certified
from support.tokenserver import Issuer, public_jwk


def settings(**options: Any) -> Token:
    return Token(realm="https://tokens.example/", service="s", issuer="i", **options)


def key_set(tmp_path: Path, *keys: Any) -> Token:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return settings(jwks=str(path))


def bundle(tmp_path: Path, *texts: str) -> Token:
    path = tmp_path / "bundle.pem"
    path.write_text("".join(texts))
    return settings(rootcertbundle=str(path))


def secret(length: int, **members: Any) -> dict[str, Any]:
    return {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * length).decode().rstrip("="), **members}


P256 = ec.generate_private_key(ec.SECP256R1())
RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

# RFC 7638, section 3.1.
RFC_KEY = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
        "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1"
        "jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def test_a_thumbprint_is_that_of_the_rfc() -> None:
    assert thumbprint(RFC_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (public_jwk(P256, kid="k"), {"ES256"}),
        (public_jwk(ec.generate_private_key(ec.SECP384R1()), kid="k"), {"ES384"}),
        (public_jwk(ec.generate_private_key(ec.SECP521R1()), kid="k"), {"ES512"}),
        (public_jwk(ed25519.Ed25519PrivateKey.generate(), kid="k"), {"EdDSA"}),
        ({**RFC_KEY, "kid": "k"}, {"RS256"}),
        ({**RFC_KEY, "kid": "k", "alg": "PS512"}, {"PS512"}),
        ({name: value for name, value in RFC_KEY.items() if name != "alg"} | {"kid": "k"}, RSA_ALGORITHMS),
        (secret(32, kid="k"), {"HS256"}),
        (secret(48, kid="k"), {"HS256", "HS384"}),
        (secret(64, kid="k"), {"HS256", "HS384", "HS512"}),
        (secret(64, kid="k", alg="HS512"), {"HS512"}),
    ],
)
def test_a_key_is_for_the_algorithms_of_its_type_and_of_its_alg(
    tmp_path: Path, jwk: dict[str, Any], algorithms: set[str]
) -> None:
    keys = load_keys(key_set(tmp_path, jwk))
    assert keys.by_id["k"].algorithms == algorithms
    assert keys.roots is None
    if jwk["kty"] == "oct":
        assert "xxx" not in repr(keys)


def test_a_key_without_an_id_has_its_thumbprint(tmp_path: Path) -> None:
    jwk = public_jwk(P256)
    assert set(load_keys(key_set(tmp_path, jwk)).by_id) == {thumbprint(jwk)}


def test_of_a_private_key_the_public_part_counts(tmp_path: Path) -> None:
    numbers = P256.private_numbers()
    private = {
        **public_jwk(P256, kid="k"),
        "d": base64.urlsafe_b64encode(numbers.private_value.to_bytes(32)).decode(),
    }
    key = load_keys(key_set(tmp_path, private)).by_id["k"].key
    assert isinstance(key, ec.EllipticCurvePublicKey)


def test_what_is_not_for_signatures_is_left_aside(tmp_path: Path) -> None:
    keys = load_keys(
        key_set(
            tmp_path,
            public_jwk(P256, kid="k"),
            public_jwk(P256, kid="other", use="enc"),
            {**public_jwk(P256, kid="other"), "key_ops": ["deriveKey"]},
            {"kty": "AKP", "kid": "other", "alg": "ML-DSA-44", "pub": "x"},
        )
    )
    assert set(keys.by_id) == {"k"}


X25519 = base64.urlsafe_b64encode(
    x25519.X25519PrivateKey.generate()
    .public_key()
    .public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
).decode()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([], "holds no 'keys'"),
        ([public_jwk(P256, use="enc")], "holds no key for signatures"),
        (["x"], "keys[0]: not a key"),
        ([{}], "keys[0]: not a key"),
        (
            [public_jwk(P256), {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}],
            "keys[1]: a key that cannot be read",
        ),
        ([{"kty": "EC", "crv": "P-256", "x": 1, "y": 2}], "keys[0]: a key that cannot be read"),
        ([{"kty": "RSA"}], "keys[0]: a key that cannot be read"),
        ([{**public_jwk(P256), "kid": 7}], "keys[0]: its 'kid' is not a text"),
        ([secret(31)], "keys[0]: a secret of 31 bytes; HS256 needs 32"),
        ([secret(0)], "keys[0]: "),
        ([{"kty": "OKP", "crv": "X25519", "x": X25519}], "keys[0]: a key that cannot be read"),
        ([{**RFC_KEY, "alg": "HS256"}], "keys[0]: a key that cannot be read"),
        ([{**public_jwk(P256), "alg": "ES384"}], "keys[0]: its 'alg' is not one that its type of key is for"),
        ([{**public_jwk(P256), "alg": ["ES256"]}], "keys[0]: a key that cannot be read"),
        ([{**RFC_KEY, "alg": "none"}], "keys[0]: a key that cannot be read"),
        (
            [public_jwk(P256, kid="k"), public_jwk(ec.generate_private_key(ec.SECP256R1()), kid="k")],
            "two keys have the id 'k'",
        ),
    ],
)
def test_a_key_set_with_a_mistake_is_an_error_of_its_key(
    tmp_path: Path, keys: list[Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_keys(key_set(tmp_path, *keys))
    assert caught.value.key == "auth.token.jwks"
    assert caught.value.message.startswith(f"{tmp_path}/jwks.json: ")
    assert sentence in caught.value.message


@pytest.mark.parametrize("bits", [1024])
def test_a_short_rsa_key_is_refused(tmp_path: Path, bits: int) -> None:
    weak = rsa.generate_private_key(65537, bits)
    with pytest.raises(ConfigurationError, match="an RSA key of 1024 bits; it must have 2048 to 8192"):
        load_keys(key_set(tmp_path, public_jwk(weak)))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_key_set_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jwks.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^auth\.token\.jwks: "):
        load_keys(settings(jwks=str(tmp_path / "jwks.json")))


def test_the_keys_of_certificates_have_the_ids_of_both_generations_of_token_servers(tmp_path: Path) -> None:
    authority = certified("root")
    keys = load_keys(bundle(tmp_path, authority.pem))
    public = authority.key.public_key()
    libtrust = fingerprint(public)
    assert set(keys.by_id) == {thumbprint(public_jwk(authority.key)), libtrust}
    assert len(libtrust.split(":")) == 12
    assert all(len(group) == 4 for group in libtrust.split(":"))
    assert keys.roots is not None


def test_a_fingerprint_is_libtrust_s() -> None:
    # The key of RFC 7515, appendix A.3; its id by openssl, sha256sum and base32.
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(base64.urlsafe_b64decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=")),
        int.from_bytes(base64.urlsafe_b64decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0=")),
        ec.SECP256R1(),
    )
    assert fingerprint(numbers.public_key()) == "FPI3:WDCE:VCL4:GCT2:UCMR:ZXRY:3ADC:7ZCB:3ZIN:UD2G:QJJU:J5QC"


def test_an_expired_certificate_is_told_of_and_its_key_still_known_by_its_id(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        keys = load_keys(bundle(tmp_path, certified("old", days=(-3, -1)).pem))
    assert len(keys.by_id) == 2
    assert [line["log_level"] for line in lines] == ["warning"]


@pytest.mark.parametrize(
    "text", ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_bundle_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^auth\.token\.rootcertbundle: .*no certificates in PEM"):
        load_keys(bundle(tmp_path, text))


def test_a_bundle_may_hold_more_than_certificates(tmp_path: Path) -> None:
    authority = certified("root")
    private = authority.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    assert len(load_keys(bundle(tmp_path, private, authority.pem)).by_id) == 2


@pytest.mark.parametrize("key", ["jwks", "rootcertbundle"])
def test_a_file_that_cannot_be_read_is_an_error_of_its_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_keys(settings(**{key: str(tmp_path / "missing")}))
    assert str(caught.value) == f"auth.token.{key}: {tmp_path}/missing: No such file or directory"
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_keys(settings(**{key: str(tmp_path)}))


def test_algorithms_that_no_key_is_for_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_text(Issuer(P256).jwks())
    with pytest.raises(ConfigurationError, match=r"^auth\.token\.signingalgorithms: none of the keys"):
        load_keys(settings(jwks=str(tmp_path / "jwks"), signingalgorithms=["RS256", "ES384"]))


def test_keys_of_both_files_count(tmp_path: Path) -> None:
    authority = certified("root")
    (tmp_path / "bundle.pem").write_text(authority.pem)
    (tmp_path / "jwks").write_text(Issuer(P256).jwks())
    keys = load_keys(settings(jwks=str(tmp_path / "jwks"), rootcertbundle=str(tmp_path / "bundle.pem")))
    assert len(keys.by_id) == 3
