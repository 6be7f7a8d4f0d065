"""The part of the catalog that a caller sees, and the place where the search for it stands.

A search that is long may stop between two repositories that the caller must not know of. Its position travels
in the next page's URL, so it is encrypted there.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api_gateway.tokens.acl import AccessList
from moorage.reference import NAME_MAX_LENGTH

_NONCE_BYTES = 12

# A name and what the metadata service puts after it; all sealed positions are of this length.
_POSITION_BYTES = NAME_MAX_LENGTH + 5


class InvalidPositionError(ValueError):
    """The text is not a position that was sealed for this caller."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What callers see: the access list says it for each user. All gateways have the same cipher."""

    acl: AccessList
    cipher: AESGCM = field(repr=False)

    def globs(self, user: str) -> tuple[str, ...]:
        """The globs of the repositories that the user finds in the catalog; none for nothing."""
        return self.acl.listed(user)

    def seal(self, position: str, user: str) -> str:
        """A position as this user's next request may carry it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        padded = position.encode().ljust(_POSITION_BYTES, b"\0")
        return urlsafe_b64encode(nonce + self.cipher.encrypt(nonce, padded, user.encode())).decode("ascii")

    def unseal(self, text: str, user: str) -> str:
        """The position that was sealed. Raises InvalidPositionError."""
        try:
            sealed = urlsafe_b64decode(text.encode("ascii"))
            padded = self.cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], user.encode())
        except (ValueError, InvalidTag) as error:
            raise InvalidPositionError("not a position") from error
        return padded.rstrip(b"\0").decode()
