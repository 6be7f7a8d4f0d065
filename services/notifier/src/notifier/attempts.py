"""One attempt in the log and in the trace of the request that caused the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from moorage import context, tracing
from notifier.lanes import Waiting
from notifier.outcome import Outcome

if TYPE_CHECKING:
    from notifier.delivery import Sink

log = structlog.get_logger("notifier.attempts")


async def attempted(sink: Sink, endpoint: str, events: Sequence[Waiting]) -> Outcome:
    """Send the events; the task that does it is theirs alone.

    Its lines, and its span, belong to the request of the first event; at level debug each event has a line
    with the id of its own.
    """
    first = events[0]
    context.request_id.set(context.accept_request_id(first.event.request.id))
    if tracing.is_on():
        outcome = await _traced(sink, endpoint, events)
    else:
        outcome = await sink.send([waiting.event for waiting in events])
    for waiting in events:
        log.debug(
            "event sent",
            endpoint=endpoint,
            outcome=str(outcome),
            attempt=waiting.attempts + 1,
            **{"event.id": waiting.event.id, "http.request.id": waiting.event.request.id},
        )
    return outcome


async def _traced(sink: Sink, endpoint: str, events: Sequence[Waiting]) -> Outcome:
    attributes: dict[str, str | int] = {
        "messaging.system": "nats",
        "messaging.batch.message_count": len(events),
        "messaging.message.id": events[0].event.id,
        "moorage.endpoint": endpoint,
        "moorage.request.id": events[0].event.request.id,
    }
    span = tracing.enter_server_span("deliver", events[0].headers, attributes, kind="consumer")
    error: BaseException | str | None = None
    try:
        outcome = await sink.send([waiting.event for waiting in events])
        error = None if outcome.succeeded else str(outcome)
    except BaseException as caught:
        error = caught
        raise
    else:
        return outcome
    finally:
        tracing.leave_server_span(span, error, {})
