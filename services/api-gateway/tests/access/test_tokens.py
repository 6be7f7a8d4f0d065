"""Which tokens count: the attacks that registries have met, each against the verifier itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from api_gateway.access import AccessRecord
from api_gateway.access.token import chains
from api_gateway.access.token import verifier as verifier_module
from api_gateway.access.token.errors import InvalidTokenError
from api_gateway.access.token.keys import fingerprint, load_keys, thumbprint
from api_gateway.access.token.verifier import TokenVerifier
from moorage.config.auth import Token
from support.certificates import Authority, certified
from support.tokenserver import Issuer, public_jwk

SCOPE = "repository:team/app:pull,push"
PULL = AccessRecord("repository", "team/app", "pull")
CA_ONLY = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
SIGNATURES_ONLY = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


class Clock:
    def __init__(self) -> None:
        self.offset = 0.0
        self.stopped: float | None = None

    def __call__(self) -> float:
        return time.time() + self.offset if self.stopped is None else self.stopped


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


class Verifiers:
    """Makes verifiers of some issuer's tokens."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def of(self, issuer: Issuer, *, jwks: str = "", bundle: str = "", **options: Any) -> TokenVerifier:
        paths = {}
        for key, text in (("jwks", jwks), ("rootcertbundle", bundle)):
            if text:
                (self._folder / key).write_text(text)
                paths[key] = str(self._folder / key)
        keys = load_keys(
            Token(realm="https://t.example", service=issuer.service, issuer=issuer.name, **paths, **options)
        )
        verifier = TokenVerifier(issuer=issuer.name, service=issuer.service, clock=self._clock)
        verifier.replace_keys(keys)
        return verifier


@pytest.fixture
def verifiers(tmp_path: Path, clock: Clock) -> Verifiers:
    return Verifiers(tmp_path, clock)


@pytest.fixture
def verifier(verifiers: Verifiers, issuer: Issuer) -> TokenVerifier:
    return verifiers.of(issuer, jwks=issuer.jwks())


def reason(verifier: TokenVerifier, token: str) -> str:
    """Why a token is refused; fails when it is not."""
    with pytest.raises(InvalidTokenError) as caught:
        verifier.verify(token)
    return str(caught.value)


def encoded(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def x5c(*chain: Authority) -> list[str]:
    return [
        base64.b64encode(each.certificate.public_bytes(serialization.Encoding.DER)).decode() for each in chain
    ]


# Good tokens


def test_a_good_token_grants_what_it_says_to_whom_it_says(verifier: TokenVerifier, issuer: Issuer) -> None:
    grant = verifier.verify(issuer.token(SCOPE, "registry:catalog:*"))
    assert grant.user == "ann"
    assert grant.allows(PULL)
    assert grant.allows(AccessRecord("registry", "catalog", "*"))
    assert not grant.allows(AccessRecord("repository", "team/app", "delete"))
    assert not grant.allows(AccessRecord("repository", "team/other", "pull"))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", "registry.example"]},
        {"sub": None},
        {"sub": ""},
        {"nbf": None, "iat": None, "jti": None},
        {"access": None},
        {"access": []},
        {"exp": 4_000_000_000.5},
        {"more": {"than": ["we", "know"]}},
    ],
)
def test_what_a_token_may_leave_out_or_write_otherwise(
    verifier: TokenVerifier, issuer: Issuer, changes: dict[str, Any]
) -> None:
    assert verifier.verify(issuer.token(SCOPE, **changes)).user in ("", "ann")


def test_a_class_comes_with_the_grant(verifier: TokenVerifier, issuer: Issuer) -> None:
    entry = {"type": "repository", "class": "plugin", "name": "team/app", "actions": ["push"]}
    assert verifier.verify(issuer.token(access=[entry])).class_of("team/app") == "plugin"


@pytest.mark.parametrize("kind", ["thumbprint", "libtrust"])
def test_a_key_of_the_bundle_is_known_by_either_id(verifiers: Verifiers, kind: str) -> None:
    authority = certified("root")
    issuer = Issuer(authority.key)
    public = authority.key.public_key()
    issuer.key_id = thumbprint(public_jwk(authority.key)) if kind == "thumbprint" else fingerprint(public)
    verifier = verifiers.of(issuer, bundle=authority.pem)
    assert verifier.verify(issuer.token(SCOPE)).user == "ann"


# The claims


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": None}, "of another issuer"),
        ({"iss": "https://tokens.example/"}, "of another issuer"),
        ({"iss": ["https://tokens.example"]}, "of another issuer"),
        ({"aud": None}, "the audience (aud) is neither"),
        ({"aud": "other"}, "for another audience"),
        ({"aud": ""}, "for another audience"),
        ({"aud": []}, "for another audience"),
        ({"aud": "registry.example "}, "for another audience"),
        ({"aud": ["registry.example", 1]}, "the audience (aud) is neither"),
        ({"aud": {"registry.example": 1}}, "the audience (aud) is neither"),
        ({"exp": None}, "without an end (exp)"),
        ({"exp": "9999999999"}, "exp is not a time"),
        ({"exp": True}, "exp is not a time"),
        ({"exp": [9999999999]}, "exp is not a time"),
        ({"exp": float("inf")}, "exp is not a time"),
        ({"exp": float("nan")}, "exp is not a time"),
        ({"exp": 10**30}, "exp is not a time"),
        ({"exp": 10**400}, "exp is not a time"),
        ({"exp": 0}, "expired"),
        ({"exp": -(10**12)}, "expired"),
        ({"nbf": "0"}, "nbf is not a time"),
        ({"nbf": False}, "nbf is not a time"),
        ({"iat": "now"}, "iat is not a time"),
        ({"sub": 7}, "sub is not a text"),
        ({"jti": {}}, "jti is not a text"),
        ({"access": {}}, "access is not a list"),
        ({"access": "repository:team/app:pull"}, "access is not a list"),
        ({"access": ["repository:team/app:pull"]}, "an entry of access is not an object"),
        (
            {"access": [{"type": "repository", "name": "team/app", "actions": "pull"}]},
            "an entry of access is malf",
        ),
        (
            {"access": [{"type": "repository", "name": "team/app", "actions": [1]}]},
            "an entry of access is malf",
        ),
        ({"access": [{"type": "repository", "actions": ["pull"]}]}, "an entry of access is malformed"),
        (
            {"access": [{"type": 1, "name": "team/app", "actions": ["pull"]}]},
            "an entry of access is malformed",
        ),
        (
            {"access": [{"type": "repository", "name": "a", "actions": [], "class": 1}]},
            "an entry of access is malformed",
        ),
    ],
    ids=str,
)
def test_claims_that_are_missing_wrong_or_odd(
    verifier: TokenVerifier, issuer: Issuer, changes: dict[str, Any], why: str
) -> None:
    assert reason(verifier, issuer.token(**{"access": [], **changes})).startswith(why)


@pytest.mark.parametrize(
    ("claim", "seconds", "good"),
    [("exp", -59, True), ("exp", -61, False), ("nbf", 59, True), ("nbf", 61, False)],
)
@pytest.mark.parametrize("seen_before", [False, True])
def test_clocks_may_differ_by_a_minute(
    verifier: TokenVerifier,
    clock: Clock,
    issuer: Issuer,
    claim: str,
    seconds: int,
    good: bool,
    seen_before: bool,
) -> None:
    now = 1_900_000_000
    token = issuer.token(SCOPE, **{"exp": now + 300, "nbf": now - 300, claim: now + seconds})
    if seen_before:
        clock.stopped = now + (-100 if claim == "exp" else 100)
        verifier.verify(token)
    clock.stopped = now
    if good:
        assert verifier.verify(token).user == "ann"
    else:
        assert reason(verifier, token) in ("expired", "not valid yet")


# The form


def parts_of(issuer: Issuer) -> Iterator[tuple[str, str]]:
    token = issuer.token(SCOPE)
    header, payload, signature = token.split(".")
    yield "", "not three parts"
    yield ".", "not three parts"
    yield "..", "not base64url"
    yield f"{header}.{payload}", "not three parts"
    yield f"{header}.{payload}.", "not base64url"
    yield f"{token}.{signature}", "not three parts"
    yield f"{token}=", "not base64url"
    yield f"{header}.{payload}.{signature}==", "not base64url"
    yield f" {token}", "not base64url"
    yield f"{header}\n.{payload}.{signature}", "not base64url"
    yield (
        f"{header}.{payload}.{signature[:-1]}{'B' if signature[-1] == 'A' else chr(ord(signature[-1]) + 1)}",
        "",
    )
    yield f"{encoded(b'not json')}.{payload}.{signature}", "the header is not JSON"
    yield f"{encoded([])}.{payload}.{signature}", "the header is not a JSON object"
    yield f"{encoded(b'[' * 30_000)}.{payload}.{signature}", "the header is not JSON"
    yield f"{encoded(bytes([0xFF]))}.{payload}.{signature}", "the header is not JSON"
    yield f"{encoded({'kid': 'key-1'})}.{payload}.{signature}", "the header names no algorithm"
    yield f"{encoded({'alg': 7, 'kid': 'key-1'})}.{payload}.{signature}", "the header names no algorithm"
    yield "a" * 70_000, "longer than"
    yield token.replace(payload, encoded({"iss": issuer.name})), "the signature does not match"
    yield "é.é.é", "not base64url"


def test_what_has_not_the_form_of_a_token(verifier: TokenVerifier, issuer: Issuer) -> None:
    for token, why in parts_of(issuer):
        assert why in reason(verifier, token), token[:100]


def test_a_signature_over_something_else_than_claims(verifier: TokenVerifier, issuer: Issuer) -> None:
    for payload in (b"", b"7", b"[]", b"\xff", b"[" * 30_000, b'"text"'):
        token = jwt.api_jws.PyJWS().encode(payload, issuer.key, "ES256", headers={"kid": issuer.key_id})
        assert reason(verifier, token).startswith(("the payload is not", "not base64url"))


@pytest.mark.parametrize(
    "headers", [{"crit": ["exp"]}, {"crit": []}, {"b64": True}, {"crit": None, "b64": False}]
)
def test_an_extension_that_must_be_understood_is_refused(
    verifier: TokenVerifier, issuer: Issuer, headers: dict[str, Any]
) -> None:
    header = {"alg": "ES256", "kid": issuer.key_id, **headers}
    signed = f"{encoded(header)}.{encoded(issuer.claims(SCOPE))}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), issuer.key)
    assert reason(verifier, f"{signed}.{encoded(signature)}") == "the header asks for an extension"


# Whose key


def test_a_key_in_the_header_verifies_nothing_even_under_the_id_of_a_trusted_one(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    """CVE-2025-24976."""
    forger = Issuer()
    for headers in (
        {"jwk": public_jwk(forger.key, kid=issuer.key_id)},
        {"jwk": public_jwk(forger.key, kid=issuer.key_id), "kid": None},
        {"jwk": public_jwk(forger.key), "kid": issuer.key_id},
    ):
        token = forger.sign(forger.claims(SCOPE), **headers)
        assert reason(verifier, token) in (
            "the signature does not match",
            "the header does not say whose key it is",
        )


def test_a_key_in_the_header_only_names_a_trusted_one(verifier: TokenVerifier, issuer: Issuer) -> None:
    other = public_jwk(Issuer().key, kid=issuer.key_id)
    token = issuer.sign(issuer.claims(SCOPE), jwk=other, kid="unknown")
    assert verifier.verify(token).user == "ann"


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_urls_of_keys_are_nothing_to_us(verifier: TokenVerifier, name: str) -> None:
    forger = Issuer()
    token = forger.sign(forger.claims(SCOPE), kid=None, **{name: "http://127.0.0.1:1/keys"})
    assert reason(verifier, token) == "the header does not say whose key it is"
    token = forger.sign(forger.claims(SCOPE), **{name: "http://127.0.0.1:1/keys"})
    assert reason(verifier, token) == "the signature does not match"


@pytest.mark.parametrize("key_id", ["", "unknown", "KEY-1", "key-1 ", "../key-1"])
def test_a_key_that_nobody_trusts(verifier: TokenVerifier, issuer: Issuer, key_id: str) -> None:
    assert reason(verifier, issuer.sign(issuer.claims(SCOPE), kid=key_id)) == "of a key that is not trusted"


@pytest.mark.parametrize("key_id", [7, ["key-1"], {"key-1": 1}, True])
def test_an_id_of_a_key_that_is_no_text(verifier: TokenVerifier, issuer: Issuer, key_id: Any) -> None:
    signed = f"{encoded({'alg': 'ES256', 'kid': key_id})}.{encoded(issuer.claims(SCOPE))}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), issuer.key)
    assert reason(verifier, f"{signed}.{encoded(signature)}") == "of a key that is not trusted"


# The algorithm

SECRET = b"0123456789abcdef" * 4
KEYS: dict[str, Any] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "oct": SECRET,
}
ALGORITHMS = {
    "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    "P-256": {"ES256"},
    "P-384": {"ES384"},
    "P-521": {"ES512"},
    "Ed25519": {"EdDSA"},
    "oct": {"HS256", "HS384", "HS512"},
}
EVERY = sorted({*set().union(*ALGORITHMS.values()), "none", "None", "NONE", "", "ES256K", "hs256"})


def all_kinds() -> str:
    keys = [public_jwk(key, kid=name) for name, key in KEYS.items() if name != "oct"]
    keys.append({"kty": "oct", "k": encoded(SECRET), "kid": "oct"})
    return json.dumps({"keys": keys})


def signatures(content: bytes, algorithm: str, kind: str) -> Iterator[bytes]:
    """What could pass for a signature under that algorithm: by each key that fits it, and by tricks."""
    yield b"\0"
    yield b"\0" * 64
    for name, key in KEYS.items():
        if algorithm in ALGORITHMS[name]:
            yield jwt.get_algorithm_by_name(algorithm).sign(content, key)
    if algorithm.upper().startswith("HS"):
        # The public key's text as the secret.
        digest = f"sha{algorithm[2:]}"
        public = KEYS[kind].public_key() if kind != "oct" else KEYS["RSA"].public_key()
        for form in (serialization.PublicFormat.SubjectPublicKeyInfo,):
            for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
                text = public.public_bytes(encoding, form)
                yield hmac.new(text, content, digest).digest()
                yield hmac.new(text.strip(), content, digest).digest()
        yield hmac.new(b"", content, digest).digest()
        yield hmac.new(json.dumps(public_jwk(KEYS["RSA"])).encode(), content, digest).digest()


@pytest.mark.parametrize("kind", KEYS)
def test_an_algorithm_goes_with_its_type_of_key_and_with_no_other(
    verifiers: Verifiers, issuer: Issuer, kind: str
) -> None:
    verifier = verifiers.of(issuer, jwks=all_kinds())
    accepted = set()
    for algorithm in EVERY:
        signed = f"{encoded({'alg': algorithm, 'kid': kind})}.{encoded(issuer.claims(SCOPE))}"
        for signature in signatures(signed.encode(), algorithm, kind):
            try:
                verifier.verify(f"{signed}.{encoded(signature)}")
            except InvalidTokenError:
                continue
            accepted.add(algorithm)
    assert accepted == ALGORITHMS[kind]


def test_only_the_configured_algorithms_count(verifiers: Verifiers, issuer: Issuer) -> None:
    verifier = verifiers.of(issuer, jwks=all_kinds(), signingalgorithms=["ES384", "PS256"])
    for kind, algorithm, good in [
        ("P-384", "ES384", True),
        ("RSA", "PS256", True),
        ("RSA", "RS256", False),
        ("P-256", "ES256", False),
        ("oct", "HS256", False),
    ]:
        token = issuer.sign(issuer.claims(SCOPE), key=KEYS[kind], algorithm=algorithm, kid=kind)
        if good:
            verifier.verify(token)
        else:
            assert reason(verifier, token).startswith("signed with an algorithm")


# Certificates in the token


@pytest.fixture(scope="module")
def root() -> Authority:
    return certified("root")


@pytest.fixture
def trusting(verifiers: Verifiers, root: Authority, issuer: Issuer) -> TokenVerifier:
    return verifiers.of(issuer, bundle=root.pem)


def signed_by(signer: Authority, *chain: Authority, **headers: Any) -> str:
    issuer = Issuer(signer.key)
    return issuer.sign(issuer.claims(SCOPE), x5c=x5c(*chain), **{"kid": None, **headers})


def test_certificates_that_lead_to_a_root_bring_their_key(trusting: TokenVerifier, root: Authority) -> None:
    middle = root.issue("middle")
    deep = middle.issue("deep")
    leaf = deep.issue("leaf", authority=False, usage=SIGNATURES_ONLY)
    other = root.issue("other")
    for token in (
        signed_by(root, root),
        signed_by(middle, middle),
        signed_by(leaf, leaf, deep, middle),
        signed_by(leaf, leaf, middle, deep, root),
        signed_by(leaf, leaf, other, deep, middle),
        signed_by(leaf, leaf, deep, middle, kid="whatever"),
    ):
        assert trusting.verify(token).user == "ann"


def test_a_jwk_with_certificates_counts_by_them(trusting: TokenVerifier, root: Authority) -> None:
    leaf = root.issue("leaf", authority=False)
    issuer = Issuer(leaf.key)
    jwk = {**public_jwk(Issuer().key), "x5c": x5c(leaf)}
    assert trusting.verify(issuer.sign(issuer.claims(SCOPE), kid=None, jwk=jwk)).user == "ann"


def bad_chains(root: Authority) -> Iterator[tuple[str, str]]:
    nowhere = "the certificates of x5c do not lead to a trusted one"
    leaf = root.issue("leaf", authority=False)
    forger = certified("root")
    # Somebody's own, also under the root's name, also with the real root beside it.
    yield signed_by(forger, forger), nowhere
    yield signed_by(forger, forger, root), nowhere
    fake_leaf = forger.issue("leaf", authority=False)
    yield signed_by(fake_leaf, fake_leaf, forger), nowhere
    yield signed_by(fake_leaf, fake_leaf, root), nowhere
    # A good chain, and somebody else's signature.
    yield signed_by(forger, leaf), "the signature does not match"
    yield signed_by(forger, leaf, forger), "the signature does not match"
    yield signed_by(leaf, root), "the signature does not match"
    # Out of time, at each place.
    for days in ((-3, -1), (1, 3)):
        late = root.issue("leaf", authority=False, days=days)
        yield signed_by(late, late), nowhere
        middle = root.issue("middle", days=days)
        below = middle.issue("leaf", authority=False)
        yield signed_by(below, below, middle), nowhere
    # Signed by what is no authority.
    below = leaf.issue("below", authority=False)
    yield signed_by(below, below, leaf), nowhere
    plain = root.issue("plain", constraints=False)
    below = plain.issue("below", authority=False)
    yield signed_by(below, below, plain), nowhere
    unable = root.issue("unable", usage=SIGNATURES_ONLY)
    below = unable.issue("below", authority=False)
    yield signed_by(below, below, unable), nowhere
    # Deeper than an authority allows.
    narrow = root.issue("narrow", path_length=0)
    middle = narrow.issue("middle")
    below = middle.issue("below", authority=False)
    yield signed_by(below, below, middle, narrow), nowhere
    # For other uses, or with conditions that nobody understands.
    other_use = root.issue("leaf", authority=False, usage=CA_ONLY)
    yield signed_by(other_use, other_use), "the certificate of x5c is not for signatures"
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    odd = root.issue("leaf", authority=False, further=unknown)
    yield signed_by(odd, odd), nowhere
    # No list of certificates.
    issuer = Issuer(root.key)
    for value in ([], "x", None, [7], {}, x5c(*[root] * 6), ["AAAA"], ["!"], [x5c(root)[0][:-8]]):
        named = {"alg": "ES256", "kid": thumbprint(public_jwk(root.key)), "x5c": value}
        signed = f"{encoded(named)}.{encoded(issuer.claims(SCOPE))}"
        signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), root.key)
        yield f"{signed}.{encoded(signature)}", "x5c"


def test_certificates_that_do_not_count(trusting: TokenVerifier, root: Authority) -> None:
    for number, (token, why) in enumerate(bad_chains(root)):
        assert why in reason(trusting, token), number


def test_the_bundle_s_own_certificate_counts_while_it_is_valid(verifiers: Verifiers, issuer: Issuer) -> None:
    old = certified("old", days=(-3, -1))
    verifier = verifiers.of(issuer, bundle=old.pem)
    assert reason(verifier, signed_by(old, old)) == "the certificate of x5c is not valid at this time"


def test_a_certificate_that_expires_ends_its_tokens(
    verifiers: Verifiers, clock: Clock, root: Authority, issuer: Issuer
) -> None:
    verifier = verifiers.of(issuer, bundle=root.pem)
    leaf = root.issue("leaf", authority=False, days=(-1, 0.01))
    signer = Issuer(leaf.key)
    token = signer.sign(signer.claims(SCOPE, exp=int(time.time()) + 10_000), x5c=x5c(leaf), kid=None)
    verifier.verify(token)
    clock.offset = 0.02 * 86_400
    assert reason(verifier, token) == "a certificate of x5c has expired"
    # Also for the next one of the same chain.
    again = signer.sign(signer.claims(SCOPE, exp=int(time.time()) + 10_000), x5c=x5c(leaf), kid=None)
    assert reason(verifier, again) == "a certificate of x5c has expired"


def test_large_keys_of_strangers_are_not_computed_with(
    trusting: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A really large one takes seconds to make.
    monkeypatch.setattr(chains, "_RSA_BITS", 2047)
    stranger = certified("stranger", key=KEYS["RSA"])
    issuer = Issuer(stranger.key, algorithm="RS256")
    token = issuer.sign(issuer.claims(SCOPE), x5c=x5c(stranger), kid=None)
    assert reason(trusting, token) == "a certificate of x5c has too large a key"


def test_a_certificate_s_key_is_for_its_own_algorithm(trusting: TokenVerifier, root: Authority) -> None:
    leaf = root.issue("leaf", authority=False)
    text = leaf.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = Issuer().claims(SCOPE)
    signed = f"{encoded({'alg': 'HS256', 'x5c': x5c(leaf)})}.{encoded(claims)}"
    signature = hmac.new(text, signed.encode(), hashlib.sha256).digest()
    assert reason(trusting, f"{signed}.{encoded(signature)}").startswith("signed with an algorithm")


def test_without_a_bundle_certificates_are_left_aside(verifier: TokenVerifier, issuer: Issuer) -> None:
    stranger = certified("stranger")
    forged = Issuer(stranger.key)
    assert (
        reason(verifier, forged.sign(forged.claims(SCOPE), x5c=x5c(stranger)))
        == "the signature does not match"
    )
    assert verifier.verify(issuer.sign(issuer.claims(SCOPE), x5c=x5c(stranger))).user == "ann"


# What is remembered


@pytest.fixture
def signatures_checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    checked: list[str] = []
    real = verifier_module._is_signed

    def is_signed(algorithm: str, *arguments: Any) -> bool:
        checked.append(algorithm)
        return real(algorithm, *arguments)

    monkeypatch.setattr(verifier_module, "_is_signed", is_signed)
    return checked


def test_a_token_is_verified_once_and_a_forged_one_each_time(
    verifier: TokenVerifier, issuer: Issuer, signatures_checked: list[str]
) -> None:
    token = issuer.token(SCOPE)
    assert verifier.verify(token) is verifier.verify(token)
    assert len(signatures_checked) == 1
    forged = Issuer().token(SCOPE)
    for _ in range(2):
        reason(verifier, forged)
    assert len(signatures_checked) == 3
    assert token not in repr(verifier._verified)


def test_new_keys_end_what_the_old_ones_signed(
    verifiers: Verifiers, verifier: TokenVerifier, issuer: Issuer
) -> None:
    token = issuer.token(SCOPE)
    verifier.verify(token)
    other = Issuer()
    verifier.replace_keys(verifiers.of(other, jwks=other.jwks())._keys)
    assert reason(verifier, token) == "the signature does not match"
    assert verifier.verify(other.token(SCOPE)).user == "ann"


def test_what_is_remembered_is_bounded(
    verifier: TokenVerifier, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier_module, "_MOST_TOKENS", 3)
    for _ in range(5):
        verifier.verify(issuer.token(SCOPE))
    assert len(verifier._verified) == 3
    monkeypatch.setattr(verifier_module, "_MOST_CHARACTERS", 1000)
    verifier.verify(issuer.token(SCOPE))
    assert len(verifier._verified) < 3
    assert verifier._characters == sum(each.length for each in verifier._verified.values()) <= 1000


def test_without_keys_nobody_comes_in(issuer: Issuer) -> None:
    verifier = TokenVerifier(issuer=issuer.name, service=issuer.service)
    assert reason(verifier, issuer.token(SCOPE)) == "of a key that is not trusted"
