"""What Prometheus is told: about HTTP, under distribution's names, about access, and about the memory."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from api_gateway.record import RequestRecord

_SIZES = (0, 1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 26, 1 << 30, 1 << 33)

IN_FLIGHT = Gauge("registry_http_in_flight_requests", "Requests under way.", ["handler"])
_REQUESTS = Counter("registry_http_requests", "Requests answered.", ["handler", "method", "code"])
_DURATION = Histogram(
    "registry_http_request_duration_seconds",
    "From a request's head to its answer's end.",
    ["handler", "method"],
)
_REQUEST_SIZE = Histogram(
    "registry_http_request_size_bytes", "Bytes of the request's body.", ["handler"], buckets=_SIZES
)
_RESPONSE_SIZE = Histogram(
    "registry_http_response_size_bytes", "Bytes of the answer's body.", ["handler"], buckets=_SIZES
)

_ACCESS_DECISIONS = Counter(
    "moorage_gateway_access_decisions", "Decisions of access control.", ["controller", "outcome"]
)

LOGIN_FAILURES = Counter(
    "moorage_gateway_login_failures", "Passwords that were wrong, or not looked at any more.", ["reason"]
)

ACCESS_RELOAD_FAILURES = Counter(
    "moorage_gateway_access_reload_failures", "Files of access control that could not be read again."
)

# Gauges are of a process; over several workers they add up.
MEMORY_BYTES = Gauge("moorage_gateway_memory_bytes", "Bytes kept in memory.")
MEMORY_ENTRIES = Gauge("moorage_gateway_memory_entries", "Look-ups and blobs kept in memory.")
LEASE_HELD = Gauge("moorage_gateway_leases", "Leases held: 0 or 1 for each process.")
LEASES_LOST = Counter("moorage_gateway_leases_lost", "Leases that ended before they were released.")
REVOCATIONS = Counter("moorage_gateway_revocations", "Revocations by the metadata service.")
LOOKUPS_PER_CALL = Histogram(
    "moorage_gateway_lookups_per_call",
    "Look-ups that went to the metadata service in one call.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
_HITS = Counter("moorage_gateway_memory_hits", "What was found in memory.", ["kind"])
_MISSES = Counter("moorage_gateway_memory_misses", "What had to be asked for.", ["kind"])

MANIFEST_HITS, MANIFEST_MISSES = _HITS.labels("manifest"), _MISSES.labels("manifest")
LINK_HITS, LINK_MISSES = _HITS.labels("link"), _MISSES.labels("link")
TAGS_HITS, TAGS_MISSES = _HITS.labels("tags"), _MISSES.labels("tags")
CONTENT_HITS, CONTENT_MISSES = _HITS.labels("content"), _MISSES.labels("content")

TOKENS_ISSUED = Counter("moorage_gateway_tokens_issued", "Tokens issued, by how the caller came.", ["grant"])
TOKENS_REFUSED = Counter("moorage_gateway_tokens_refused", "Requests for tokens refused.", ["reason"])


def access_decisions(controller: str, outcome: str) -> Counter:
    """The counter of one kind of decision: granted, challenged, denied or error."""
    return _ACCESS_DECISIONS.labels(controller, outcome)


def observe(record: RequestRecord, method: str) -> None:
    """Count one request that a route has answered."""
    requests, duration, request_size, response_size = _children(record.route, method, record.status)
    requests.inc()
    duration.observe(record.elapsed())
    request_size.observe(record.received)
    response_size.observe(record.written)


@cache
def _children(route: str, method: str, status: int) -> tuple[Counter, Histogram, Histogram, Histogram]:
    """The metrics with their labels, which are as few as there are routes, methods and statuses."""
    handler, verb = route.replace("-", "_"), method.lower()
    return (
        _REQUESTS.labels(handler, verb, str(status)),
        _DURATION.labels(handler, verb),
        _REQUEST_SIZE.labels(handler),
        _RESPONSE_SIZE.labels(handler),
    )
