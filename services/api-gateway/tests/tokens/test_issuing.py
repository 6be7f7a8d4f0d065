"""Tokens against the verifier that the gateway has, and refresh tokens against everything else."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_gateway.access.token.errors import InvalidTokenError
from api_gateway.access.token.keys import SigningKey, TrustedKeys
from api_gateway.access.token.verifier import TokenVerifier
from api_gateway.tokens.issuing import InvalidRefreshTokenError, Issuer
from api_gateway.tokens.keys import KeyRing, load_keys
from api_gateway.tokens.scopes import Scope
from support.clock import Clock

NOW = 1_800_000_000
HASHES = {"ada": "$2y$05$adas", "grace": "$2y$05$graces"}


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return load_keys(str(tmp_path / "token.pem"), ())


def issuer_of(keys: KeyRing, clock: Clock, **changes) -> Issuer:
    options = {
        "issuer": "moorage",
        "service": "registry",
        "lifetime": 300,
        "refresh_lifetime": 3600,
        **changes,
    }
    return Issuer(keys, clock=clock, **options)


@pytest.fixture
def issuer(keys: KeyRing, clock: Clock) -> Issuer:
    return issuer_of(keys, clock)


def verifier_of(keys: KeyRing, clock: Clock) -> TokenVerifier:
    verifier = TokenVerifier(issuer="moorage", service="registry", clock=clock)
    trusted = {key.kid: SigningKey.of(key.public) for key in keys.all}
    verifier.replace_keys(TrustedKeys(trusted, None, frozenset({"ES256", "EdDSA"})))
    return verifier


def test_a_token_says_who_has_it_and_what_it_is_for(issuer, keys, clock) -> None:
    token = issuer.access_token("ada", [Scope("repository", "app", ("pull", "create"), "plugin")])
    assert (token.issued_at, token.lifetime) == (NOW, 300)
    claims = jwt.decode(token.text, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("moorage", "registry", "ada")
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (NOW, NOW, NOW + 300)
    assert claims["access"] == [
        {"type": "repository", "class": "plugin", "name": "app", "actions": ["pull", "create"]}
    ]
    assert jwt.get_unverified_header(token.text)["kid"] == keys.signing.kid
    grant = verifier_of(keys, clock).verify(token.text)
    assert grant.user == "ada"
    assert grant.creates_only("app")


def test_no_two_tokens_are_the_same(issuer) -> None:
    claims = [
        jwt.decode(issuer.access_token("", []).text, options={"verify_signature": False}) for _ in range(3)
    ]
    assert len({each["jti"] for each in claims}) == 3


@pytest.mark.parametrize(
    ("seconds", "good"), [(-61, False), (-59, True), (0, True), (359, True), (361, False)]
)
def test_a_token_is_good_until_a_minute_after_its_end(issuer, keys, clock, seconds: int, good: bool) -> None:
    token = issuer.access_token("ada", []).text
    clock.now = NOW + seconds
    verifier = verifier_of(keys, clock)
    if good:
        assert verifier.verify(token).user == "ada"
    else:
        with pytest.raises(InvalidTokenError):
            verifier.verify(token)


def test_a_token_of_a_previous_key_is_good_and_one_of_another_key_is_not(tmp_path, clock) -> None:
    old = load_keys(str(tmp_path / "old.pem"), ())
    token = issuer_of(old, clock).access_token("ada", []).text
    rotated = load_keys(str(tmp_path / "new.pem"), [str(tmp_path / "old.pem")])
    assert verifier_of(rotated, clock).verify(token).user == "ada"
    with pytest.raises(InvalidTokenError):
        verifier_of(load_keys(str(tmp_path / "new.pem"), ()), clock).verify(token)


# Refresh tokens


def test_a_refresh_token_says_who_its_bearer_is(issuer) -> None:
    token = issuer.refresh_token("ada", HASHES["ada"])
    assert issuer.refreshed(token, HASHES.get) == "ada"


def test_a_refresh_token_does_not_show_the_hash(issuer) -> None:
    token = issuer.refresh_token("ada", HASHES["ada"])
    payload = urlsafe_b64decode(token.split(".")[1] + "==").decode()
    assert HASHES["ada"] not in payload


@pytest.mark.parametrize(
    "hashes", [{}, {"ada": "$2y$05$another"}, {"ada": ""}, {"grace": HASHES["ada"]}, {"ada": HASHES["grace"]}]
)
def test_it_ends_with_the_account_and_with_its_password(issuer, hashes: dict[str, str]) -> None:
    token = issuer.refresh_token("ada", HASHES["ada"])
    with pytest.raises(InvalidRefreshTokenError):
        issuer.refreshed(token, hashes.get)


@pytest.mark.parametrize(("seconds", "good"), [(0, True), (3659, True), (3661, False)])
def test_it_ends_in_time(issuer, clock, seconds: int, good: bool) -> None:
    token = issuer.refresh_token("ada", HASHES["ada"])
    clock.now = NOW + seconds
    if good:
        assert issuer.refreshed(token, HASHES.get) == "ada"
    else:
        with pytest.raises(InvalidRefreshTokenError):
            issuer.refreshed(token, HASHES.get)


def test_it_outlives_the_process_and_a_change_of_keys_when_the_old_one_is_kept(tmp_path, clock) -> None:
    path = str(tmp_path / "token.pem")
    token = issuer_of(load_keys(path, ()), clock).refresh_token("ada", HASHES["ada"])
    assert issuer_of(load_keys(path, ()), clock).refreshed(token, HASHES.get) == "ada"
    new = str(tmp_path / "new.pem")
    assert issuer_of(load_keys(new, [path]), clock).refreshed(token, HASHES.get) == "ada"
    with pytest.raises(InvalidRefreshTokenError):
        issuer_of(load_keys(new, ()), clock).refreshed(token, HASHES.get)


def test_it_is_for_one_service_and_one_issuer(keys, clock) -> None:
    token = issuer_of(keys, clock).refresh_token("ada", HASHES["ada"])
    for changes in ({"service": "another"}, {"issuer": "another"}):
        with pytest.raises(InvalidRefreshTokenError):
            issuer_of(keys, clock, **changes).refreshed(token, HASHES.get)


def test_it_opens_nothing_by_itself(issuer, keys, clock) -> None:
    with pytest.raises(InvalidTokenError):
        verifier_of(keys, clock).verify(issuer.refresh_token("ada", HASHES["ada"]))


def test_an_access_token_refreshes_nothing(issuer) -> None:
    with pytest.raises(InvalidRefreshTokenError):
        issuer.refreshed(issuer.access_token("ada", []).text, HASHES.get)


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512", "ES256"])
def test_another_algorithm_does_not_count(issuer, keys, algorithm: str) -> None:
    claims = jwt.decode(issuer.refresh_token("ada", HASHES["ada"]), options={"verify_signature": False})
    header = {"alg": algorithm, "kid": keys.signing.kid, "typ": "refresh+jwt"}
    if algorithm == "none":
        forged = f"{part(header)}.{part(claims)}."
    elif algorithm == "ES256":
        forged = jwt.encode(claims, keys.signing.private, algorithm=algorithm, headers=header)
    else:
        forged = jwt.encode(claims, b"x" * 64, algorithm=algorithm, headers=header)
    with pytest.raises(InvalidRefreshTokenError):
        issuer.refreshed(forged, HASHES.get)


def test_a_public_previous_key_refreshes_nothing_and_stops_nothing(tmp_path, clock) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    old = load_keys(str(tmp_path / "old.pem"), ())
    token = issuer_of(old, clock).refresh_token("ada", HASHES["ada"])
    public = tmp_path / "public.pem"
    public.write_bytes(old.signing.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    issuer = issuer_of(load_keys(str(tmp_path / "new.pem"), [str(public)]), clock)
    with pytest.raises(InvalidRefreshTokenError):
        issuer.refreshed(token, HASHES.get)
    assert issuer.refreshed(issuer.refresh_token("ada", HASHES["ada"]), HASHES.get) == "ada"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_a_token_that_was_touched_anywhere_does_not_count(issuer, data) -> None:
    token = issuer.refresh_token("ada", HASHES["ada"])
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABab01-_.=é \n"))
    touched = token[:place] + other + token[place + 1 :]
    try:
        assert issuer.refreshed(touched, HASHES.get) == "ada"
    except InvalidRefreshTokenError:
        return
    # The last character of a part has bits that do not count.
    assert [urlsafe_b64decode(each + "==") for each in touched.split(".")] == [
        urlsafe_b64decode(each + "==") for each in token.split(".")
    ]


@given(st.text(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_text_is_refused_as_a_refresh_token(issuer, text: str) -> None:
    with pytest.raises(InvalidRefreshTokenError):
        issuer.refreshed(text, HASHES.get)
