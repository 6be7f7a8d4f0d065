"""What the notifier counts. The first three are distribution's, by name and labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter(
    "registry_notifications_events_total",
    "Events: those for an endpoint, and attempts by how they ended.",
    ["type", "endpoint"],
)
PENDING = Gauge(
    "registry_notifications_pending_total", "Events that an endpoint does not have yet.", ["endpoint"]
)
STATUS = Counter(
    "registry_notifications_status_total",
    "Events by the status that an attempt was answered with.",
    ["code", "endpoint"],
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

ATTEMPT_DURATION = Histogram(
    "registry_notifications_attempt_duration_seconds",
    "How long an attempt took.",
    ["endpoint"],
    buckets=_SECONDS,
)
LATENCY = Histogram(
    "registry_notifications_delivery_latency_seconds",
    "From when an event was in the stream until the endpoint had it.",
    ["endpoint"],
    buckets=(*_SECONDS, 300, 3600, 86400),
)
RETRIES = Counter(
    "registry_notifications_retries_total", "Events that were sent again after a failure.", ["endpoint"]
)
REDELIVERIES = Counter(
    "registry_notifications_redeliveries_total",
    "Events that the broker handed out again: the endpoint may have had them before.",
    ["endpoint"],
)
DEAD_LETTERS = Counter(
    "registry_notifications_dead_letters_total", "Events that were given up.", ["endpoint"]
)
LOST = Counter(
    "registry_notifications_lost_total",
    "Events that left the stream before the endpoint had them.",
    ["endpoint"],
)
BREAKER_OPEN = Gauge(
    "registry_notifications_breaker_open",
    "1 while an endpoint that fails is given up for a pause.",
    ["endpoint"],
)
ACTIVE = Gauge(
    "registry_notifications_active", "1 while this notifier delivers to the endpoint.", ["endpoint"]
)
