"""Registry events on their way out: from a request to JetStream, or to the outbox while NATS is away.

`bridge` makes events of what the routes tell it. `publisher` sees to it that a change's event is safe before
the change is acknowledged, `pulls` publishes in the background. Both hand messages to `link`, the connection
to JetStream; what `publisher` cannot hand over goes to `outbox`, which `drain` empties. `composition` puts
them together.
"""

from api_gateway.events.composition import event_listener, outbox_checks
from api_gateway.events.listener import Listener, Silent

__all__ = ["Listener", "Silent", "event_listener", "outbox_checks"]
