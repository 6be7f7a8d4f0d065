"""What Prometheus is told about HTTP, under distribution's names."""

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
