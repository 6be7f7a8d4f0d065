"""What Prometheus is told about events."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from moorage.events.event import ACTIONS

EVENTS = Counter(
    "moorage_gateway_events",
    "Events by action and by where they went: the stream, the outbox, or nowhere (refused, shed).",
    ["action", "outcome"],
)
# From the start at 0: an increase is seen only where there was a value before.
for _action in ACTIONS:
    EVENTS.labels(_action, "refused")
PUBLISH_SECONDS = Histogram(
    "moorage_gateway_event_publish_seconds",
    "How long a change waited until its events were safe.",
    ["outcome"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
)
CONNECTED = Gauge(
    "moorage_gateway_event_stream_connected", "Connections to the event stream: 0 or 1 a process."
)
WAITING_PULLS = Gauge(
    "moorage_gateway_waiting_pull_events", "Pull events in memory that wait to be published."
)

# Of the outbox, which all processes of a gateway share: one of them tells.
OUTBOX_EVENTS = Gauge("moorage_gateway_outbox_events", "Events in the outbox.")
OUTBOX_BYTES = Gauge("moorage_gateway_outbox_bytes", "Bytes of events in the outbox.")
OUTBOX_AGE = Gauge(
    "moorage_gateway_outbox_oldest_seconds", "Age of the oldest event in the outbox; 0 for none."
)

DRAINED = Counter("moorage_gateway_outbox_drained", "Events that went from the outbox to the stream.")
