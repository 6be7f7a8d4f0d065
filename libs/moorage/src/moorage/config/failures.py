"""How many wrong passwords a client may try. Durations are seconds."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from moorage.config.section import Section
from moorage.config.values import Count, Seconds, more_than_zero


class Failures(Section):
    """`burst` wrong passwords at once, and one more each `interval`; of one client for one account."""

    burst: Annotated[Count, AfterValidator(more_than_zero)] = 10
    interval: Annotated[Seconds, AfterValidator(more_than_zero)] = 10.0
