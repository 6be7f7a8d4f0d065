"""What belongs to one request and travels with it through all services."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits

# The id under which a request's lines stand in every service's log.
request_id: ContextVar[str] = ContextVar("request_id", default="")

# Under this key the id travels: in HTTP headers, gRPC metadata and NATS headers.
REQUEST_ID_KEY = "x-request-id"

# What else the lines of a request say. It is called for each line, so a request without lines pays nothing.
log_fields: ContextVar[Callable[[], Mapping[str, object]] | None] = ContextVar("log_fields", default=None)

Inject = Callable[[MutableMapping[str, str]], None]

# What travels beside the id: the trace's context, while tracing is on (`moorage.tracing`).
_injectors: list[Inject] = []

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def new_request_id() -> str:
    """A fresh request id: a random UUID, made in a third of the time that the uuid module takes."""
    text = f"{getrandbits(128):032x}"  # an id, not a secret
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def accept_request_id(text: str) -> str:
    """An id that came from outside, or a fresh one when it could spoil a log line or is empty."""
    return text if _SAFE_ID.fullmatch(text) else new_request_id()


def outgoing() -> dict[str, str]:
    """What a message to another service carries, as header fields: `x-request-id`, and `traceparent`.

    An empty map outside a request; `traceparent` only while tracing is on. For NATS headers, for example.
    """
    fields: dict[str, str] = {}
    current = request_id.get()
    if current:
        fields[REQUEST_ID_KEY] = current
    for inject in _injectors:
        inject(fields)
    return fields


@contextmanager
def incoming(fields: Mapping[str, str]) -> Iterator[str]:
    """Work on what came with these header fields (keys in lower case): the context has their request id.

    It gives the id: the sender's, or a fresh one when that is missing or could spoil a log line.
    """
    token = request_id.set(accept_request_id(fields.get(REQUEST_ID_KEY, "")))
    try:
        yield request_id.get()
    finally:
        request_id.reset(token)


def propagate(inject: Inject) -> None:
    """Let `outgoing` call this too, until `stop_propagating`."""
    _injectors.append(inject)


def stop_propagating(inject: Inject) -> None:
    """The end of `propagate`."""
    _injectors.remove(inject)


def has_more_than_an_id() -> bool:
    """Whether `outgoing` can hold more than the request id."""
    return bool(_injectors)
