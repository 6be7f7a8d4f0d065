"""Who delivers to an endpoint: the notifier that holds its lease, and no other.

A lease is an entry of a JetStream key-value bucket, which drops it when nobody has renewed it for the time
of a take-over. The holder renews it five times within that, by compare-and-set, and believes in it only for
as long as the bucket surely keeps it, counted from before it asked. Clocks of several machines are never
compared.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import nats.errors
import structlog
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from moorage.clock import boot_seconds
from notifier.sharing import Holding, Share

log = structlog.get_logger("notifier.leases")

# Renewals within the time of a take-over.
_RENEWALS = 5

# Seconds between two tries to get a lease that another notifier holds, at most.
_LONGEST_POLL = 1.0


class Lease:
    """The lease of one endpoint. `state` gives what others may read of the holder."""

    def __init__(
        self, bucket: KeyValue, key: str, takeover: float, state: Callable[[], dict[str, Any]]
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._takeover = takeover
        self._state = state
        self._token = uuid.uuid4().hex
        self._revision = 0
        self._until = 0.0

    @property
    def remaining(self) -> float:
        """Seconds for which nobody else can have the lease; 0 when somebody may."""
        return max(0.0, self._until - boot_seconds())

    async def acquire(self, ending: asyncio.Event, share: Share) -> Holding | None:
        """Wait for the lease, and for room in the share; None when `ending` was set.

        Give the holding back to the share. Raises nats.errors.Error or TimeoutError.
        """
        stands_by = False
        free_since: float | None = None
        while not ending.is_set():
            async with share.turn:
                has_room = share.has_room
                if has_room or self._is_left(free_since):
                    if await self._created():
                        return share.take(counts=has_room)
                    free_since = None
                elif await self._is_taken():
                    free_since = None
                else:
                    free_since = free_since or boot_seconds()
            if not stands_by:
                stands_by = True
                log.info("another notifier delivers; standing by", lease=self._key)
            try:
                async with asyncio.timeout(min(_LONGEST_POLL, self._takeover / _RENEWALS)):
                    await ending.wait()
            except TimeoutError:
                continue
        return None

    def _is_left(self, free_since: float | None) -> bool:
        """Whether a lease has been free for so long that nobody else will take it."""
        return free_since is not None and boot_seconds() - free_since > self._takeover

    async def _created(self) -> bool:
        asked = boot_seconds()
        try:
            self._revision = await self._bucket.create(self._key, self._value())
        except (KeyWrongLastSequenceError, KeyNotFoundError):
            return False  # the second: it ran out between two questions of the library's
        self._until = asked + self._takeover
        return True

    async def _is_taken(self) -> bool:
        try:
            await self._bucket.get(self._key)
        except KeyNotFoundError:
            return False
        return True

    async def keep(self) -> None:
        """Renew the lease until it is lost."""
        while True:
            await asyncio.sleep(self._takeover / _RENEWALS)
            asked = boot_seconds()
            try:
                self._revision = await self._renewed()
            except KeyWrongLastSequenceError:
                self._until = 0.0
                log.warning("the lease is lost to another notifier", lease=self._key)
                return
            except (nats.errors.Error, OSError, TimeoutError) as error:
                if self.remaining:
                    continue
                log.warning(
                    "the lease could not be renewed",
                    lease=self._key,
                    reason=str(error) or type(error).__name__,
                )
                return
            self._until = asked + self._takeover

    async def _renewed(self) -> int:
        """The revision of the entry, written again."""
        try:
            return await self._bucket.update(self._key, self._value(), self._revision)
        except KeyWrongLastSequenceError:
            # A renewal may have arrived though its answer did not.
            try:
                entry = await self._bucket.get(self._key)
            except KeyNotFoundError:
                entry = None
            if entry is None or entry.revision is None or not self._is_own(entry.value):
                raise
            return await self._bucket.update(self._key, self._value(), entry.revision)

    async def release(self) -> None:
        """Let another notifier have it at once."""
        if self._until and self.remaining:
            try:
                await self._bucket.delete(self._key, last=self._revision)
            except (nats.errors.Error, APIError, OSError, TimeoutError) as error:
                # It runs out by itself.
                log.debug("the lease was not given back", lease=self._key, reason=type(error).__name__)
        self._until = 0.0

    def _value(self) -> bytes:
        return json.dumps({**self._state(), "lease": self._token}, ensure_ascii=False).encode()

    def _is_own(self, value: bytes | None) -> bool:
        try:
            return bool(json.loads(value or b"{}")["lease"] == self._token)
        except (ValueError, KeyError, TypeError):
            return False
