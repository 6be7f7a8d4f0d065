"""Where each endpoint was last in the event stream, kept beside its consumer.

A consumer can be deleted by mistake, and the stream be made anew. The endpoint goes on where it was then, and
not where it would begin if it were new.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to a sequence of a stream is done."""

    created: str
    """When the stream was made: a sequence means something in that stream only."""

    sequence: int


class Bookmarks:
    """The bookmarks of all endpoints, in a key-value bucket."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def get(self, consumer: str) -> Bookmark | None:
        """The bookmark of an endpoint, if there is one; raises nats.errors.Error or TimeoutError."""
        try:
            fields = json.loads((await self._bucket.get(consumer)).value or b"")
            return Bookmark(str(fields["created"]), int(fields["sequence"]))
        except (KeyNotFoundError, ValueError, KeyError, TypeError):
            return None

    async def put(self, consumer: str, bookmark: Bookmark) -> None:
        """Remember it; raises nats.errors.Error or TimeoutError."""
        document = {"created": bookmark.created, "sequence": bookmark.sequence}
        await self._bucket.put(consumer, json.dumps(document).encode())
