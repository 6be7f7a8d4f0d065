"""`http.limits` (Moorage's own): what one client, and all of them together, may ask of the gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from moorage.config.section import Section
from moorage.config.values import ByteSize, Count, Seconds, more_than_zero
from moorage.pace import MinimumRate

Size = Annotated[ByteSize, AfterValidator(more_than_zero)]
Number = Annotated[Count, AfterValidator(more_than_zero)]
Time = Annotated[Seconds, AfterValidator(more_than_zero)]


class Limits(Section):
    """Sizes are bytes, times are seconds.

    0 is no limit for `uploadsize`, `connections`, `clientconnections`, `minimumrate` and `requestrate`.
    `minimumrate` is bytes in a second, on average over `ratewindow` of waiting for a client. `requestrate` is
    requests in a second of one client, and `requestburst` how many may come at once.
    """

    manifestsize: Size = 4 * 2**20
    uploadsize: ByteSize = 0
    headersize: Size = 128 * 2**10
    headercount: Number = 128
    headtimeout: Time = 30.0
    idletimeout: Time = 125.0
    connections: Count = 10_000
    clientconnections: Count = 0
    minimumrate: ByteSize = 128
    ratewindow: Time = 60.0
    requestrate: Count = 0
    requestburst: Count = 0

    @property
    def minimum(self) -> MinimumRate:
        """How slowly a client may send and take the bytes of a body."""
        return MinimumRate(self.minimumrate, self.ratewindow)

    @property
    def burst(self) -> int:
        """How many requests of one client may come at once: as the operator said, else ten seconds' worth."""
        return self.requestburst or 10 * self.requestrate
