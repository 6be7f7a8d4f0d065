"""What the service counts besides its calls and its cache."""

from __future__ import annotations

from prometheus_client import Counter

# An operator's alarm: each of these means that something is wrong with the storage, or was.
DAMAGE = Counter(
    "moorage_metadata_damage_total", "Times that a call met something damaged in storage, by kind.", ["kind"]
)

MALFORMED_LINK = "malformed link"
MISSING_BYTES = "missing bytes"
WRONG_DIGEST = "wrong digest"
