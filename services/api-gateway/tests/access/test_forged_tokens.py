"""A campaign of forgers, who know all that is public and have keys of their own: none of them comes in.

What they know: the registry's key set and certificates, the ids of the keys, and a token of each key that was
good once. What they do not have is a private key. MOORAGE_FORGERIES is how many tokens they try.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_gateway.access.token.errors import InvalidTokenError
from api_gateway.access.token.keys import fingerprint, load_keys, thumbprint
from api_gateway.access.token.verifier import TokenVerifier
from moorage.config.auth import Token
from support.certificates import Authority, certified
from support.tokenserver import Issuer, public_jwk

FORGERIES = int(os.environ.get("MOORAGE_FORGERIES", "300"))
SCOPE = "repository:team/app:pull,push,delete"

ROOT = certified("root")
SECRET = os.urandom(64)
TRUSTED: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
THEIRS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
THEIRS["PS256"] = THEIRS["RS512"] = THEIRS["RS256"]
ALGORITHM = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "ed25519": "EdDSA"}
FAKE_ROOT = certified("root")
FAKE_LEAF = FAKE_ROOT.issue("leaf", authority=False)
ISSUER = Issuer()
KEY_SET = {"keys": [public_jwk(key, kid=name) for name, key in TRUSTED.items()]}
KEY_SET["keys"].append(
    {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
)

# One of each key, as they may be found in somebody's log. They are made when tests are collected, and must be
# good at the end of the longest campaign.
GOOD = [
    ISSUER.sign(ISSUER.claims(SCOPE, exp=4_000_000_000), key=key, algorithm=ALGORITHM[name], kid=name)
    for name, key in TRUSTED.items()
]
EXPIRED = [
    ISSUER.sign(
        ISSUER.claims(SCOPE, exp=int(time.time()) - 1000), key=key, algorithm=ALGORITHM[name], kid=name
    )
    for name, key in TRUSTED.items()
]


def public_texts() -> list[bytes]:
    """All that is public, in the forms in which it could be taken for a secret."""
    texts = [b"", b"secret", json.dumps(KEY_SET).encode(), ROOT.pem.encode()]
    for key in (*TRUSTED.values(), ROOT.key):
        public = key.public_key()
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
            text = public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
            texts += [text, text.strip(), base64.b64encode(text)]
        texts.append(json.dumps(public_jwk(key)).encode())
    return texts


PUBLIC = public_texts()
KEY_IDS = [*TRUSTED, "oct", thumbprint(public_jwk(ROOT.key)), fingerprint(ROOT.key.public_key())]
ALGORITHMS = [
    *(f"{family}{bits}" for family in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)),
    "EdDSA",
    "none",
    "None",
    "ES256K",
    "hs256",
    "",
]


def der(authority: Authority) -> str:
    return base64.b64encode(authority.certificate.public_bytes(serialization.Encoding.DER)).decode()


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
chains = st.lists(st.sampled_from([der(ROOT), der(FAKE_ROOT), der(FAKE_LEAF), "AAAA"]), max_size=6)
jwks = st.sampled_from([*KEY_SET["keys"][:-1], *(public_jwk(key) for key in THEIRS.values())]).flatmap(
    lambda jwk: st.fixed_dictionaries(
        {},
        optional={
            "kid": st.sampled_from(KEY_IDS),
            "x5c": chains,
            "alg": st.sampled_from(ALGORITHMS),
        },
    ).map(lambda members: {**jwk, **members})
)
headers = st.fixed_dictionaries(
    {"alg": st.sampled_from(ALGORITHMS)},
    optional={
        "kid": st.sampled_from(KEY_IDS) | anything,
        "jwk": jwks | anything,
        "x5c": chains | anything,
        "jku": st.just("https://forger.example/keys"),
        "x5u": st.just("https://forger.example/chain"),
        "crit": st.just([]) | anything,
        "typ": st.sampled_from(["JWT", "at+jwt", "refresh+jwt"]),
        "b64": st.booleans(),
        "zip": st.just("DEF"),
    },
)
claims = st.fixed_dictionaries(
    {},
    optional={
        "exp": st.just(2**40) | anything,
        "nbf": st.just(0) | anything,
        "sub": st.just("admin") | anything,
        "iss": st.just("https://forger.example") | anything,
        "access": st.just([{"type": "registry", "name": "catalog", "actions": ["*"]}]) | anything,
    },
).map(lambda changes: {**ISSUER.claims(SCOPE), **changes})


@st.composite
def signed_by_themselves(draw: st.DrawFn) -> str:
    """Claims of their choice, signed with a key of theirs, or with what is public as a secret."""
    header, payload = draw(headers), draw(claims)
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(payload).encode())}"
    algorithm = header["alg"]
    if algorithm in THEIRS and draw(st.booleans()):
        signature = jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), THEIRS[algorithm])
    elif algorithm.upper() in {"HS256", "HS384", "HS512"}:
        secret = draw(st.sampled_from(PUBLIC))
        signature = hmac.new(secret, signed.encode(), f"sha{algorithm[2:]}").digest()
    else:
        signature = draw(
            st.sampled_from([b"", b"\0", b"\0" * 64, b"\0" * 96, b"\0" * 256])
            | st.binary(min_size=1, max_size=300)
            | st.sampled_from(GOOD).map(lambda good: base64.urlsafe_b64decode(good.split(".")[2] + "=="))
        )
    return f"{signed}.{encoded(signature)}"


@st.composite
def made_of_good_ones(draw: st.DrawFn) -> str:
    """A good token with another part, or with other bytes somewhere; or one that was good once."""
    good = draw(st.sampled_from(GOOD))
    parts = good.split(".")
    which = draw(st.integers(0, 2))
    way = draw(st.integers(0, 4))
    if way == 0:
        parts[which] = draw(st.sampled_from([each for each in GOOD if each != good])).split(".")[which]
    elif way == 1:
        content = bytearray(base64.urlsafe_b64decode(parts[which] + "=="))
        content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        parts[which] = encoded(bytes(content))
    elif way == 2:
        parts[0] = encoded(json.dumps(draw(headers)).encode())
    elif way == 3:
        parts[1] = encoded(json.dumps(draw(claims)).encode())
    else:
        return draw(
            st.sampled_from(EXPIRED)
            | st.sampled_from([".", "=", "==", "\0", " ", "A", "_"]).map(good.__add__)
            | st.sampled_from([".", " ", "A"]).map(lambda before: before + good)
        )
    forged = ".".join(parts)
    # The parts of a good token may have been drawn again.
    return forged if forged not in GOOD else f"{forged}A"


forgeries = st.one_of(
    signed_by_themselves(),
    made_of_good_ones(),
    st.text(st.characters(max_codepoint=255), max_size=200),
    st.tuples(*[st.binary(max_size=60).map(encoded)] * 3).map(".".join),
)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> TokenVerifier:
    folder: Path = tmp_path_factory.mktemp("keys")
    (folder / "jwks").write_text(json.dumps(KEY_SET))
    (folder / "bundle").write_text(ROOT.pem)
    config = Token(
        realm="https://t.example",
        service=ISSUER.service,
        issuer=ISSUER.name,
        jwks=str(folder / "jwks"),
        rootcertbundle=str(folder / "bundle"),
    )
    verifier = TokenVerifier(issuer=ISSUER.name, service=ISSUER.service)
    verifier.replace_keys(load_keys(config))
    # The campaign means nothing unless these are good; and they are remembered while it lasts.
    for token in GOOD:
        assert verifier.verify(token).user == "ann"
    return verifier


@settings(
    max_examples=FORGERIES,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(forged=forgeries)
def test_no_forged_token_counts(verifier: TokenVerifier, forged: str) -> None:
    """Each is refused, with a reason and by no other error; a reason quotes nothing of what was sent."""
    with pytest.raises(InvalidTokenError) as caught:
        verifier.verify(forged)
    if len(forged) > 40:
        assert forged not in str(caught.value)
