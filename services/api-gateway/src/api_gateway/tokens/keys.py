"""The keys of the token service: the one that signs, and those that may have signed.

`auth.token.server.key` is a PEM file with a private key, made on first start: P-256 (ES256) or Ed25519
(EdDSA). `previouskeys` are further ones, private or public, whose tokens count as well, so that a key can be
changed without a moment at which tokens are refused. Source: RFC 7517 (JWK), RFC 7638 (thumbprint), RFC 8037
(EdDSA).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from api_gateway.access.token.keys import as_jwk, thumbprint
from api_gateway.newfile import write_new
from moorage.config import ConfigurationError

log = structlog.get_logger("api_gateway.tokens")

_SECTION = "auth.token.server"

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey

_SECRET_BYTES = 32


class InvalidKeyError(ValueError):
    """A file holds no key that can be used here."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key; `private` is None where only its public half is known."""

    public: PublicKey = field(repr=False)
    private: PrivateKey | None = field(repr=False)
    algorithm: str
    jwk: dict[str, Any]
    """The public half as a JWK, with `kid`, `alg` and `use`."""

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint, by which tokens name the key."""
        return str(self.jwk["kid"])

    def secret(self, purpose: str) -> bytes:
        """32 secret bytes of this key's, for this purpose alone (HKDF). Raises InvalidKeyError if public."""
        if self.private is None:
            raise InvalidKeyError("a public key has no secret")
        material = self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return HKDF(SHA256(), _SECRET_BYTES, salt=None, info=f"moorage {purpose}".encode()).derive(material)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that signs, and all that verify, the signing one first."""

    signing: Key
    all: tuple[Key, ...]

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves as a JWK set (RFC 7517, section 5)."""
        return {"keys": [key.jwk for key in self.all]}


def load_keys(signing: str, previous: Sequence[str]) -> KeyRing:
    """The keys in these files; the signing one is made if it is not there. Raises ConfigurationError."""
    with _naming(f"{_SECTION}.key"):
        key = parse_key(_read_or_make(Path(signing)))
        if key.private is None:
            raise InvalidKeyError("holds a public key; a private one is needed to sign")
    keys = {key.kid: key}
    for index, path in enumerate(previous):
        with _naming(f"{_SECTION}.previouskeys[{index}]"):
            other = parse_key(Path(path).read_bytes())
            keys.setdefault(other.kid, other)
    return KeyRing(key, tuple(keys.values()))


def parse_key(pem: bytes) -> Key:
    """The key in a PEM text, private (without a password) or public. Raises InvalidKeyError."""
    private: object = None
    try:
        if b"PRIVATE KEY-----" in pem:
            private = load_pem_private_key(pem, password=None)
            public: object = private.public_key()
        else:
            public = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's sentence may quote what it read.
        raise InvalidKeyError("holds no PEM key without a password") from error
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        algorithm = "ES256"
    elif isinstance(public, Ed25519PublicKey):
        algorithm = "EdDSA"
    else:
        raise InvalidKeyError("holds a key of another kind than P-256 or Ed25519")
    assert private is None or isinstance(private, EllipticCurvePrivateKey | Ed25519PrivateKey)  # noqa: S101
    jwk = as_jwk(public)
    jwk |= {"kid": thumbprint(jwk), "alg": algorithm, "use": "sig"}
    return Key(public, private, algorithm, jwk)


def _read_or_make(path: Path) -> bytes:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        _make(path)
        return path.read_bytes()
    if path.stat().st_mode & 0o007:
        log.warning("everybody on this host can read the key that signs tokens: chmod 0600", path=str(path))
    return text


def _make(path: Path) -> None:
    """Make a key that outlasts a crash of the host, unless another process was first."""
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if write_new(path, pem):
        log.info("a key that signs tokens was made", path=str(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _naming(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            key, f"cannot be read or made: {error.strerror}: {error.filename}"
        ) from error
    except InvalidKeyError as error:
        raise ConfigurationError(key, str(error)) from error
