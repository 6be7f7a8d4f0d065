"""How many wrong passwords a client may try. Durations are seconds."""

from __future__ import annotations

from typing import Annotated

from moorage.config.section import Section
from moorage.config.values import MORE_THAN_ZERO, Count, Seconds


class Failures(Section):
    """`burst` wrong passwords at once, and one more each `interval`; of one client for one account."""

    burst: Annotated[Count, MORE_THAN_ZERO] = 10
    interval: Annotated[Seconds, MORE_THAN_ZERO] = 10.0
