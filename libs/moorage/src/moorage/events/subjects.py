"""How events travel on NATS: streams, subjects and headers. Subscribers outside of the registry rely on it.

An event's subject is `registry.events.<action>.<repository>`. A repository's `/` becomes the `.` between two
tokens, so a team's events are `registry.events.*.team.>`; a `.` in a repository's name becomes `%2E`. Both
directions are unambiguous, for a repository's name holds no `%`. The message is the event's JSON.
"""

from __future__ import annotations

from moorage.events.event import ACTIONS

STREAM = "REGISTRY_EVENTS"
SUBJECTS = "registry.events.>"

# Where an event goes that an endpoint could not be given: one message for each endpoint and event.
DEAD_LETTER_STREAM = "REGISTRY_DEAD_LETTERS"
DEAD_LETTER_SUBJECTS = "registry.dead-letters.>"

# JetStream stores one message of an id within the stream's duplicate window. The event's own id stands there.
MESSAGE_ID_HEADER = "Nats-Msg-Id"
CONTENT_TYPE_HEADER = "Content-Type"
CONTENT_TYPE = "application/json"

# Bytes of a message, with its headers, at most: broker and stream must take as much.
LARGEST_MESSAGE = 2**20

_PREFIX = "registry.events"


def subject(action: str, repository: str) -> str:
    """The subject of an event."""
    return f"{_PREFIX}.{action}.{token(repository)}"


def token(repository: str) -> str:
    """A repository's name as one or more tokens of a subject."""
    return repository.replace(".", "%2E").replace("/", ".")


def parse_subject(text: str) -> tuple[str, str]:
    """Action and repository of an event's subject; raises ValueError for another subject."""
    action, dot, tokens = text.removeprefix(f"{_PREFIX}.").partition(".")
    if not text.startswith(f"{_PREFIX}.") or action not in ACTIONS or not dot or not tokens:
        raise ValueError(f"not the subject of an event: {text[:80]!r}")
    return action, tokens.replace(".", "/").replace("%2E", ".")


def message_headers(message_id: str) -> dict[str, str]:
    """The headers of a message that holds an event; in the event stream `message_id` is the event's own."""
    return {MESSAGE_ID_HEADER: message_id, CONTENT_TYPE_HEADER: CONTENT_TYPE}
