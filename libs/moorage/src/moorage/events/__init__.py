"""Registry events: what one is, how it reads, and how it travels on NATS.

`event` is the model and its JSON, which is distribution's. `subjects` names the streams, the subjects and the
headers of a message. `stream` makes and checks the stream, `broker` keeps a connection to it; only these two
need a NATS client, so they are not imported here.
"""

from moorage.events.event import (
    Action,
    Actor,
    Descriptor,
    Event,
    InvalidEventError,
    Request,
    Source,
    Target,
    envelope,
)

__all__ = [
    "Action",
    "Actor",
    "Descriptor",
    "Event",
    "InvalidEventError",
    "Request",
    "Source",
    "Target",
    "envelope",
]
