"""`health`: what the gateway checks before it serves. Intervals and timeouts are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from moorage.config.section import Section
from moorage.config.values import AbsoluteURL, Count, Flag, Headers, HostPort, Seconds, Text

DEFAULT_INTERVAL = 10.0
DEFAULT_TIMEOUT = 5.0

Interval = Annotated[Seconds, AfterValidator(lambda value: value or DEFAULT_INTERVAL)]
Timeout = Annotated[Seconds, AfterValidator(lambda value: value or DEFAULT_TIMEOUT)]


class StorageDriverCheck(Section):
    """`health.storagedriver`: `threshold` failures in a row make it unhealthy; 0 means the first one does."""

    enabled: Flag = False
    interval: Interval = DEFAULT_INTERVAL
    threshold: Count = 0


class FileCheck(Section):
    """One of `health.file`: unhealthy while the file exists."""

    file: Text
    interval: Interval = DEFAULT_INTERVAL
    threshold: Count = 0


class HTTPCheck(Section):
    """One of `health.http`: healthy when a HEAD of `uri` answers `statuscode`."""

    uri: AbsoluteURL
    headers: Headers = Field(default_factory=dict, repr=False)
    statuscode: Annotated[Count, AfterValidator(lambda value: value or 200)] = 200
    timeout: Timeout = DEFAULT_TIMEOUT
    interval: Interval = DEFAULT_INTERVAL
    threshold: Count = 0


class TCPCheck(Section):
    """One of `health.tcp`: healthy when `addr` takes a connection."""

    addr: HostPort
    timeout: Timeout = DEFAULT_TIMEOUT
    interval: Interval = DEFAULT_INTERVAL
    threshold: Count = 0


class Health(Section):
    """`health`."""

    environment_names: ClassVar[Mapping[str, str]] = {
        "filecheckers": "file",
        "httpcheckers": "http",
        "tcpcheckers": "tcp",
    }

    storagedriver: StorageDriverCheck = Field(default_factory=StorageDriverCheck)
    file: tuple[FileCheck, ...] = ()
    http: tuple[HTTPCheck, ...] = ()
    tcp: tuple[TCPCheck, ...] = ()
