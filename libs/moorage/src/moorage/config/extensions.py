"""`proxy`, `reporting` and `compatibility`.

Their keys are known here, so that a misspelt one is found. Which of them this version refuses: see
`refusals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from moorage.config.section import Section
from moorage.config.values import Flag, FreeForm, Seconds, Secret, Text

Parameters = dict[str, FreeForm]


class ProxyExec(Section):
    """`proxy.exec`: a helper command that prints the upstream's credentials."""

    command: Text | None = None
    lifetime: Seconds | None = None


class Proxy(Section):
    """`proxy`: a pull-through cache of `remoteurl`."""

    remoteurl: Text | None = None
    username: Text | None = None
    password: Secret = None
    exec: ProxyExec = Field(default_factory=ProxyExec)
    ttl: Seconds | None = None
    cachewritetimeout: Seconds | None = None
    remotenamespace: Text | None = None


class Bugsnag(Section):
    """`reporting.bugsnag`."""

    apikey: Secret = None
    releasestage: Text | None = None
    endpoint: Text | None = None


class NewRelic(Section):
    """`reporting.newrelic`."""

    licensekey: Secret = None
    name: Text | None = None
    verbose: Flag = False


class Reporting(Section):
    """`reporting`."""

    bugsnag: Bugsnag = Field(default_factory=Bugsnag)
    newrelic: NewRelic = Field(default_factory=NewRelic)


class Schema1(Section):
    """`compatibility.schema1`."""

    environment_names: ClassVar[Mapping[str, str]] = {"trustkey": "signingkeyfile"}

    enabled: Flag = False
    signingkeyfile: Text | None = None


class Compatibility(Section):
    """`compatibility`."""

    schema1: Schema1 = Field(default_factory=Schema1)
