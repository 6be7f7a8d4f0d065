"""The whole configuration: one frozen model, keyed as the YAML is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from moorage.config.auth import Auth
from moorage.config.extensions import Compatibility, Proxy, Reporting
from moorage.config.health import Health
from moorage.config.http import HTTP
from moorage.config.log import Log, LogLevel
from moorage.config.middleware import Middleware
from moorage.config.notifications import Notifications
from moorage.config.paging import Catalog, Tags
from moorage.config.redis import Redis
from moorage.config.section import Section
from moorage.config.services import Services
from moorage.config.storage import Storage
from moorage.config.validation import Policy, Validation
from moorage.config.values import kind

VERSION = "0.1"


def _version(value: Any) -> str:
    if isinstance(value, str | float) and str(value) == VERSION:
        return VERSION
    raise ValueError(f"unsupported version {kind(value)}; this registry reads version {VERSION}")


class Configuration(Section):
    """distribution's `config.yml` with Moorage's own keys. Durations are seconds, sizes bytes."""

    version: Annotated[Literal["0.1"], BeforeValidator(_version)]
    log: Log = Field(default_factory=Log)
    loglevel: LogLevel | None = None
    storage: Storage
    auth: Auth = Field(default_factory=Auth)
    middleware: Middleware = Field(default_factory=Middleware)
    http: HTTP = Field(default_factory=HTTP)
    notifications: Notifications = Field(default_factory=Notifications)
    redis: Redis = Field(default_factory=Redis)
    health: Health = Field(default_factory=Health)
    proxy: Proxy = Field(default_factory=Proxy)
    validation: Validation = Field(default_factory=Validation)
    policy: Policy = Field(default_factory=Policy)
    catalog: Catalog = Field(default_factory=Catalog)
    tags: Tags = Field(default_factory=Tags)
    compatibility: Compatibility = Field(default_factory=Compatibility)
    reporting: Reporting = Field(default_factory=Reporting)
    services: Services = Field(default_factory=Services)

    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def redirects(self) -> bool:
        """Whether a client may be sent to the storage backend: something that is configured knows how."""
        known = self.storage.driver_has_urls or any(not entry.disabled for entry in self.middleware.storage)
        return known and not self.storage.redirect.disable

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know though it is no error, one line each. The caller logs them."""
        return self._warnings

    def with_warnings(self, warnings: tuple[str, ...]) -> Configuration:
        """The same configuration with these warnings."""
        copy = self.model_copy()
        copy._warnings = warnings
        return copy
