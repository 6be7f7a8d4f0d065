"""`storage`: the driver, and what is done around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from moorage.config.s3 import S3
from moorage.config.section import Section
from moorage.config.values import (
    ByteSize,
    Count,
    Flag,
    Integer,
    Seconds,
    Text,
    empty_is_none,
    kind,
    not_empty,
    warn,
)

# The keys of `storage` that are not a driver's name.
NOT_DRIVERS = frozenset({"maintenance", "cache", "delete", "redirect", "tag"})

MIN_THREADS = 25
# Of a stripe. Above it an OSD with its defaults refuses the write (osd_max_write_size, 90 MiB).
MAX_RADOS_CHUNK = 64 << 20
MIN_RADOS_CHUNK = 64 << 10
# Of the times that librados and an OSD keep.
LEAST_RADOS_SECONDS = 1
DAY = 24 * 60 * 60.0


def _at_least_min_threads(value: int, info: ValidationInfo) -> int:
    if value >= MIN_THREADS:
        return value
    warn(info, f"storage.filesystem.maxthreads: {value} is less than the least, {MIN_THREADS}, which is used")
    return MIN_THREADS


class _Parameters(Section):
    """A part of `storage`, which is a map of maps to distribution."""

    open_to_environment = True


class Filesystem(_Parameters):
    """`storage.filesystem`."""

    rootdirectory: Text = "/var/lib/registry"
    maxthreads: Annotated[Count, AfterValidator(_at_least_min_threads)] = 100
    directio: Flag = True


class InMemory(_Parameters):
    """`storage.inmemory`: for tests; it has no parameters."""


def _a_stripe(value: int) -> int:
    if not MIN_RADOS_CHUNK <= value <= MAX_RADOS_CHUNK:
        raise ValueError(
            f"must be between {MIN_RADOS_CHUNK >> 10} KiB and {MAX_RADOS_CHUNK >> 20} MiB: {value}"
        )
    return value


def _at_least_a_second(value: float) -> float:
    if value < LEAST_RADOS_SECONDS:
        raise ValueError(f"must be at least a second: {value:g}s")
    return value


def _not_none(value: int) -> int:
    if value < 1:
        raise ValueError(f"must be at least 1: {value}")
    return value


_RadosSeconds = Annotated[Seconds, AfterValidator(_at_least_a_second)]


class Rados(_Parameters):
    """`storage.rados`: a pool of a Ceph cluster. Times are in seconds. distribution has the first three."""

    poolname: Annotated[Text, AfterValidator(not_empty)]
    username: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    chunksize: Annotated[ByteSize, AfterValidator(_a_stripe)] = 4 << 20
    conffile: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    namespace: Text = ""
    connecttimeout: _RadosSeconds = 30.0
    timeout: _RadosSeconds = 30.0
    maxinflight: Annotated[Count, AfterValidator(_not_none)] = 32
    writerlease: _RadosSeconds = 15.0


class Delete(_Parameters):
    """`storage.delete`."""

    enabled: Flag = False


class UploadPurging(_Parameters):
    """`storage.maintenance.uploadpurging`: `age` and `interval` are seconds."""

    enabled: Flag = True
    age: Seconds = 7 * DAY
    interval: Seconds = DAY
    dryrun: Flag = False

    @model_validator(mode="after")
    def _all_or_disabled(self) -> UploadPurging:
        # In a document the section must be whole, or distribution panics; `enabled: false` alone suffices.
        given = self.model_fields_set
        missing = [name for name in type(self).model_fields if name not in given]
        if given and self.enabled and missing:
            raise ValueError(f"all of its keys must be given, and these are missing: {', '.join(missing)}")
        if not self.interval:
            raise ValueError("'interval' must be more than nothing")
        return self


class ReadOnly(_Parameters):
    """`storage.maintenance.readonly`."""

    enabled: Flag = False


class Maintenance(_Parameters):
    """`storage.maintenance`."""

    uploadpurging: UploadPurging = Field(default_factory=UploadPurging)
    readonly: ReadOnly = Field(default_factory=ReadOnly)


def _known_cache(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and value in {"inmemory", "redis"}:
        return str(value)
    if value:
        warn(info, f"storage.cache.blobdescriptor: unknown cache {kind(value)}: no descriptor cache is used")
    return None


class Cache(_Parameters):
    """`storage.cache`. `blobdescriptor` is None for no cache; `layerinfo` is its deprecated name."""

    blobdescriptor: Annotated[Literal["inmemory", "redis"] | None, BeforeValidator(_known_cache)] = None
    layerinfo: Text | None = None
    blobdescriptorsize: Integer = 10000

    @model_validator(mode="before")
    @classmethod
    def _deprecated_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("blobdescriptor") is None and "layerinfo" in given:
            return {**given, "blobdescriptor": given["layerinfo"]}
        return given


class Redirect(_Parameters):
    """`storage.redirect`."""

    disable: Flag = False


class TagLookup(_Parameters):
    """`storage.tag`: `concurrencylimit` 0 stands for the number of processors."""

    concurrencylimit: Count = 0


# What says where a driver's content lies.
_LOCATION = ("rootdirectory", "conffile", "poolname", "namespace", "regionendpoint", "region", "bucket")


class Storage(_Parameters):
    """`storage`: exactly one driver, and the sections that go with any driver."""

    filesystem: Filesystem | None = None
    inmemory: InMemory | None = None
    s3: S3 | None = None
    s3aws: S3 | None = None
    rados: Rados | None = None
    delete: Delete = Field(default_factory=Delete)
    maintenance: Maintenance = Field(default_factory=Maintenance)
    cache: Cache = Field(default_factory=Cache)
    redirect: Redirect = Field(default_factory=Redirect)
    tag: TagLookup = Field(default_factory=TagLookup)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_absent(cls, given: Any) -> Any:
        # A driver's name with nothing after it (`inmemory:`) names the driver all the same.
        if not isinstance(given, dict):
            return given
        return {
            key: {} if value is None else value
            for key, value in given.items()
            if value is not None or key not in NOT_DRIVERS
        }

    @property
    def driver_name(self) -> str:
        """The name of the one driver that is configured, such as `filesystem`; `s3` for its alias, too."""
        name = self._driver()[0]
        return "s3" if name == "s3aws" else name

    @property
    def driver_has_urls(self) -> bool:
        """Whether clients can reach what the driver stores without the registry."""
        return self.driver_name == "s3"

    @property
    def driver_parameters(self) -> Mapping[str, Any]:
        """The driver's parameters, defaults filled in, under the names that the YAML has."""
        return self._driver()[1].model_dump()

    @property
    def location(self) -> str:
        """Where the content lies, as far as the configuration says: two that differ have different content.

        No secret is in it.
        """
        parameters = self.driver_parameters
        places = [f"{key} {parameters[key]}" for key in _LOCATION if parameters.get(key)]
        return ", ".join([self.driver_name, *places])

    def _driver(self) -> tuple[str, Section]:
        for name in type(self).model_fields:
            driver = getattr(self, name)
            if name not in NOT_DRIVERS and driver is not None:
                return name, driver
        raise ValueError("no storage driver is configured")
