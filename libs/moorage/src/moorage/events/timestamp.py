"""Times as Go writes them: RFC 3339 in UTC, with as many digits of a second as it takes."""

from __future__ import annotations

import re
import time
from calendar import timegm
from datetime import datetime

_SECOND = 1_000_000_000
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


def rfc3339_nano(nanoseconds: int) -> str:
    """A time since the epoch, as Go's time.RFC3339Nano formats it: zeros at the end are left out."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def parse_timestamp(text: str) -> int:
    """Nanoseconds since the epoch; raises ValueError for another text than RFC 3339."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"not a timestamp: {text[:64]!r}")
    # Raises ValueError for a day or an hour that there is not.
    seconds = timegm(datetime.fromisoformat(match[1]).timetuple())
    if match[3]:
        offset = 3600 * int(match[4]) + 60 * int(match[5])
        seconds -= offset if match[3] == "+" else -offset
    return seconds * _SECOND + int((match[2] or "").ljust(9, "0"))
