"""The whole configuration: one frozen model, keyed as the YAML is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from moorage.config.health import Health
from moorage.config.http import HTTP
from moorage.config.log import Log, LogLevel
from moorage.config.notifications import Notifications
from moorage.config.section import Section
from moorage.config.services import Services
from moorage.config.storage import Storage
from moorage.config.validation import Catalog, Policy, Tags, Validation
from moorage.config.values import Flag, FreeForm, Text

VERSION = "0.1"


def _version(value: Any) -> Any:
    if isinstance(value, str | int | float) and str(value) == VERSION:
        return VERSION
    raise ValueError(f"unsupported version {value!r}: this registry reads version {VERSION}")


class Schema1(Section):
    """`compatibility.schema1`. Only `enabled: false` gets past `refusals`."""

    enabled: Flag = False
    trustkey: Text | None = None
    signingkeyfile: Text | None = None


class Compatibility(Section):
    """`compatibility`."""

    schema1: Schema1 = Field(default_factory=Schema1)


class Configuration(Section):
    """distribution's `config.yml` with Moorage's own keys. Durations are seconds, sizes bytes."""

    version: Annotated[Literal["0.1"], BeforeValidator(_version)]
    log: Log = Field(default_factory=Log)
    loglevel: LogLevel | None = None
    storage: Storage
    auth: dict[str, FreeForm] = Field(default_factory=dict)
    middleware: dict[str, FreeForm] = Field(default_factory=dict)
    http: HTTP = Field(default_factory=HTTP)
    notifications: Notifications = Field(default_factory=Notifications)
    redis: dict[str, FreeForm] = Field(default_factory=dict, repr=False)
    health: Health = Field(default_factory=Health)
    proxy: dict[str, FreeForm] = Field(default_factory=dict)
    validation: Validation = Field(default_factory=Validation)
    policy: Policy = Field(default_factory=Policy)
    catalog: Catalog = Field(default_factory=Catalog)
    tags: Tags = Field(default_factory=Tags)
    compatibility: Compatibility = Field(default_factory=Compatibility)
    reporting: dict[str, FreeForm] = Field(default_factory=dict)
    services: Services = Field(default_factory=Services)

    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know and what is no error, one sentence each. The caller logs them."""
        return self._warnings
