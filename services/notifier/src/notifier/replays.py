"""Telling one endpoint events once more, in their order; others hear nothing of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from moorage.events import Event, InvalidEventError
from moorage.events.subjects import (
    DEAD_LETTER_STREAM,
    DEAD_LETTER_SUBJECTS,
    STREAM,
    SUBJECTS,
    message_headers,
)
from notifier.names import (
    ATTEMPTS_HEADER,
    ENDPOINT_HEADER,
    REASON_HEADER,
    REPLAY_STREAM,
    STORED_HEADER,
    consumer_of_subject,
    dead_letter_subject,
    replay_subject_of,
)
from notifier.reading import read


class ReplayError(Exception):
    """The events cannot be told once more now. `str()` says why."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that an endpoint could not be told."""

    sequence: int
    """In the stream of dead letters."""

    buried: float
    """When it was given up, seconds since the epoch."""

    stored: float
    """When the event stream took it, seconds since the epoch."""

    endpoint: str
    consumer: str
    reason: str
    attempts: int
    event: Event | None
    """None for a message that was not an event."""


async def dead_letters(
    jetstream: JetStreamContext, *, endpoint: str | None = None, since: float | None = None
) -> AsyncIterator[DeadLetter]:
    """The dead letters, of one endpoint or of all, from `since` on; raises nats.errors.Error."""
    subject = DEAD_LETTER_SUBJECTS if endpoint is None else dead_letter_subject(endpoint)
    async for message in read(jetstream, DEAD_LETTER_STREAM, subject, since=since):
        yield _dead_letter(message)


async def events(
    jetstream: JetStreamContext, *, since: float | None = None, until: float | None = None
) -> AsyncIterator[tuple[int, Event]]:
    """The events of the stream between two times, with their sequences; raises nats.errors.Error."""
    async for message in read(jetstream, STREAM, SUBJECTS, since=since):
        if until is not None and message.metadata.timestamp.timestamp() > until:
            return
        try:
            yield message.metadata.sequence.stream, Event.decode(message.data)
        except InvalidEventError:
            continue  # every endpoint has it as a dead letter


class Replay:
    """One replay: repeated as a whole, it tells the events again; a part of it that is repeated does not."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream
        self._run = uuid.uuid4().hex

    async def event(self, consumer: str, sequence: int, event: Event) -> None:
        """Have the endpoint of a consumer told an event of the stream; raises ReplayError."""
        await self._publish(consumer, event, f"{self._run}.{consumer}.{sequence}")

    async def dead_letter(self, letter: DeadLetter) -> None:
        """Have its endpoint told what is in a dead letter, which goes; raises ReplayError."""
        if letter.event is None:
            raise ReplayError(f"dead letter {letter.sequence} is not an event")
        # The same in each run: between this and the deletion a run may end.
        await self._publish(
            letter.consumer, letter.event, f"dead-letter.{letter.sequence}.{letter.buried:.6f}"
        )
        try:
            await self._jetstream.delete_msg(DEAD_LETTER_STREAM, letter.sequence)
        except NotFoundError:
            return  # its time was over, or somebody else replays as well
        except (APIError, nats.errors.Error, TimeoutError) as error:
            raise ReplayError(f"a dead letter stays although it is replayed: {_words(error)}") from error

    async def _publish(self, consumer: str, event: Event, message_id: str) -> None:
        try:
            await self._jetstream.publish(
                replay_subject_of(consumer),
                event.encode(),
                stream=REPLAY_STREAM,
                headers=message_headers(message_id),
            )
        except (APIError, nats.errors.Error, TimeoutError) as error:
            raise ReplayError(f"the stream of replays does not take an event: {_words(error)}") from error


def _dead_letter(message: Msg) -> DeadLetter:
    headers = message.headers or {}
    try:
        event = Event.decode(message.data)
    except InvalidEventError:
        event = None
    consumer = consumer_of_subject(message.subject)
    buried = message.metadata.timestamp.timestamp()
    return DeadLetter(
        sequence=message.metadata.sequence.stream,
        buried=buried,
        stored=_number(headers.get(STORED_HEADER), buried),
        endpoint=headers.get(ENDPOINT_HEADER, consumer),
        consumer=consumer,
        reason=headers.get(REASON_HEADER, ""),
        attempts=int(_number(headers.get(ATTEMPTS_HEADER), 0)),
        event=event,
    )


def _number(text: str | None, otherwise: float) -> float:
    try:
        return float(text or otherwise)
    except ValueError:
        return otherwise


def _words(error: Exception) -> str:
    return getattr(error, "description", None) or str(error) or type(error).__name__
