"""What the service counts besides its calls and its cache."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# An operator's alarm: each of these means that something is wrong with the storage, or was.
DAMAGE = Counter(
    "moorage_metadata_damage_total", "Times that a call met something damaged in storage, by kind.", ["kind"]
)

MALFORMED_LINK = "malformed link"
MISSING_BYTES = "missing bytes"
WRONG_DIGEST = "wrong digest"

# From the start at 0: an increase is seen only where there was a value before.
for _kind in (MALFORMED_LINK, MISSING_BYTES, WRONG_DIGEST):
    DAMAGE.labels(_kind)

LEASES = Gauge("moorage_metadata_leases", "Leases of gateways that have not ended.")
HOLDINGS = Gauge("moorage_metadata_lease_repositories", "Pairs of a lease and a repository that it covers.")
LEASES_ENDED = Counter(
    "moorage_metadata_leases_ended_total",
    "Leases that ended, by reason: released; disconnected, when they covered nothing; expired; or"
    " unconfirmed, when they ran out before the gateway confirmed a revocation.",
    ["reason"],
)
REVOCATIONS = Counter(
    "moorage_metadata_revocations_total",
    "Revocations sent to gateways, by outcome: confirmed, ended (with the lease), or abandoned by a change"
    " that gave up.",
    ["outcome"],
)
REVOCATION_WAIT = Histogram(
    "moorage_metadata_revocation_wait_seconds", "How long changes waited for gateways before they began."
)
COLLECTIONS = Counter(
    "moorage_garbage_collections_total", "Garbage collections that ended, by outcome.", ["outcome"]
)
for _outcome in ("complete", "dry run", "failed"):
    COLLECTIONS.labels(_outcome)
COLLECTED = Counter(
    "moorage_garbage_collected_total",
    "What garbage collections removed, by kind: manifest, link or blob.",
    ["kind"],
)
