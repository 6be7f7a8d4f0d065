"""What a token is good for: its signature by a key that the operator trusts, then what it says.

A signature takes 30 to 300 microseconds, about what a thread costs to ask for it, and much less than the
request around it. So it is verified on the event loop, once for each token: a pull sends the same one with
every request.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from api_gateway.access.interface import Grant
from api_gateway.access.token.claims import Claims, claims_of
from api_gateway.access.token.compact import json_object, split
from api_gateway.access.token.errors import InvalidTokenError
from api_gateway.access.token.keys import SigningKey, TrustedKeys, UnsuitableKeyError

# What is remembered, at most: tokens, and characters of them, since what they grant may be long.
_MOST_TOKENS = 4096
_MOST_CHARACTERS = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    grant: Grant
    signer_expires: float
    length: int

    def check_time(self, now: float) -> None:
        """Raise InvalidTokenError unless token and signer are good at that time."""
        self.claims.check_time(now)
        if now > self.signer_expires:
            raise InvalidTokenError("a certificate of x5c has expired")


class TokenVerifier:
    """Verifies tokens of one issuer for one service, by keys that may be replaced at any time."""

    def __init__(self, *, issuer: str, service: str, clock: Callable[[], float] = time.time) -> None:
        """Without keys, until there are some. `clock` gives seconds since 1970."""
        self._issuer = issuer
        self._service = service
        self._clock = clock
        self._keys = TrustedKeys({}, None, frozenset())
        # By the token's hash: the tokens themselves are worth stealing.
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._characters = 0

    def replace_keys(self, keys: TrustedKeys) -> None:
        """Trust these keys from now on, and no others."""
        self._keys = keys
        self._verified.clear()
        self._characters = 0

    def verify(self, token: str) -> Grant:
        """What the token grants, now. Raises InvalidTokenError."""
        now = self._clock()
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        known = self._verified.get(digest)
        if known is None:
            known = self._read(token, now)
            known.check_time(now)
            self._remember(digest, known)
            return known.grant
        try:
            known.check_time(now)
        except InvalidTokenError:
            self._forget(digest)
            raise
        self._verified.move_to_end(digest)
        return known.grant

    def _read(self, token: str, now: float) -> _Verified:
        compact = split(token)
        key, signer_expires = self._key(compact.header, now)
        if compact.algorithm not in key.algorithms:
            raise InvalidTokenError("signed with an algorithm that is not the key's, or is not allowed")
        if not _is_signed(compact.algorithm, compact.signed, key, compact.signature):
            raise InvalidTokenError("the signature does not match")
        claims = claims_of(
            json_object(compact.payload, "payload"), issuer=self._issuer, service=self._service
        )
        return _Verified(claims, Grant(claims.subject, claims.resources), signer_expires, len(token))

    def _key(self, header: dict[str, Any], now: float) -> tuple[SigningKey, float]:
        """The key of a token, of those that the operator trusts, and until when it may be used.

        What a header holds of keys says only which one. As in distribution, `x5c` goes before `jwk`, and that
        before `kid`. `jku` and `x5u` are nothing to us.
        """
        jwk = header.get("jwk")
        holder = header if "x5c" in header or not isinstance(jwk, dict) else jwk
        if "x5c" in holder and self._keys.roots is not None:
            signer = self._keys.roots.signer(holder["x5c"], now)
            try:
                key = SigningKey.of(signer.certificate.public_key())
            except UnsuitableKeyError as error:
                raise InvalidTokenError(f"the certificate of x5c has {error}") from error
            return key.only(self._keys.algorithms), signer.expires
        key_id = holder.get("kid")
        if key_id is None:
            raise InvalidTokenError("the header does not say whose key it is")
        known = self._keys.by_id.get(key_id) if isinstance(key_id, str) else None
        if known is None:
            raise InvalidTokenError("of a key that is not trusted")
        return known, float("inf")

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        self._characters += verified.length
        while len(self._verified) > _MOST_TOKENS or self._characters > _MOST_CHARACTERS:
            self._forget(next(iter(self._verified)))

    def _forget(self, digest: bytes) -> None:
        self._characters -= self._verified.pop(digest).length


def _is_signed(algorithm: str, content: bytes, key: SigningKey, signature: bytes) -> bool:
    verifier = jwt.get_algorithm_by_name(algorithm)
    return bool(verifier.verify(content, key.key, signature))
