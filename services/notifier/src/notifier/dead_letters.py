"""Dead letters: events that an endpoint could not be told, in a stream where they can be looked at."""

from __future__ import annotations

from nats.js import JetStreamContext

from moorage.events.subjects import DEAD_LETTER_STREAM, message_headers
from notifier.names import (
    ATTEMPTS_HEADER,
    ENDPOINT_HEADER,
    REASON_HEADER,
    STORED_HEADER,
    consumer_name,
    dead_letter_subject,
)

_LONGEST_REASON = 200


async def bury(
    jetstream: JetStreamContext,
    endpoint: str,
    content: bytes,
    *,
    reason: str,
    attempts: int,
    stored: float,
    receipt: str,
) -> None:
    """Put an event of an endpoint into the stream of dead letters; raises nats.errors.Error or TimeoutError.

    `content` is the event's JSON, or what was to be it; `receipt` names the message that
    it came in.
    """
    # Twice in a row, after a crash between this and the acknowledgement, it stands there once. An event that
    # was told once more came in another message: when it is given up again, it stands there again.
    headers = {
        **message_headers(f"{consumer_name(endpoint)}.{receipt}"),
        # A header is one line of ASCII, and an endpoint's name need not be.
        ENDPOINT_HEADER: endpoint.encode("ascii", "backslashreplace").decode("ascii"),
        REASON_HEADER: "".join(c if c.isascii() and c.isprintable() else "?" for c in reason)[
            :_LONGEST_REASON
        ],
        ATTEMPTS_HEADER: str(attempts),
        STORED_HEADER: f"{stored:.3f}",
    }
    await jetstream.publish(
        dead_letter_subject(endpoint), content, stream=DEAD_LETTER_STREAM, headers=headers
    )
