"""Digests: `<algorithm>:<hex>`, parsed strictly, because they become storage paths.

Source: OCI image specification, "Digests". Registered algorithms: sha256 (canonical here, as in
distribution) and sha512.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

CANONICAL_ALGORITHM = "sha256"

# Hex characters of each algorithm's digest. An algorithm that is not here is refused.
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(?P<algorithm>sha256|sha512):(?P<hex>[0-9a-f]+)", re.ASCII)

SUPPORTED_ALGORITHMS = tuple(_HEX_LENGTH)


class InvalidDigestError(ValueError):
    """The text is not a digest of a supported algorithm."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest that is known to be well-formed: `str()` gives `<algorithm>:<hex>`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse `<algorithm>:<lowercase hex>`; raises InvalidDigestError for anything else."""
        match = _DIGEST.fullmatch(text)
        if match is None or len(match["hex"]) != _HEX_LENGTH[match["algorithm"]]:
            raise InvalidDigestError(f"not a digest of {' or '.join(SUPPORTED_ALGORITHMS)}: {text[:160]!r}")
        return cls(match["algorithm"], match["hex"])

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL_ALGORITHM) -> Digest:
        """The digest of `content`."""
        return cls(algorithm, new_hash(algorithm, content).hexdigest())

    @property
    def is_canonical(self) -> bool:
        """Whether content is stored under digests of this algorithm."""
        return self.algorithm == CANONICAL_ALGORITHM

    def verifies(self, content: bytes) -> bool:
        """Whether `content` has this digest."""
        return new_hash(self.algorithm, content).hexdigest() == self.hex

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def new_hash(algorithm: str, content: bytes = b"") -> hashlib._Hash:
    """A running hash of a supported algorithm; raises InvalidDigestError for another one."""
    if algorithm not in _HEX_LENGTH:
        raise InvalidDigestError(f"not a supported digest algorithm: {algorithm[:40]!r}")
    return hashlib.new(algorithm, content, usedforsecurity=True)


EMPTY_DIGEST = Digest.of(b"")
