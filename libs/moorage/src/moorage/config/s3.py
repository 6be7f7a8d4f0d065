"""`storage.s3`, which `storage.s3aws` is another name for.

The keys, defaults and limits are distribution's (registry/storage/driver/s3-aws); `timeout` is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, model_validator

from moorage.config.section import Section
from moorage.config.values import (
    ByteSize,
    Count,
    Flag,
    Seconds,
    Secret,
    Text,
    empty_is_none,
    not_empty,
    one_of,
    one_or_more,
)

_MIB = 1 << 20
# S3's limits for a part of a multipart upload.
_MIN_PART = 5 * _MIB
_MAX_PART = 5 << 30

STORAGE_CLASSES = (
    *("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "OUTPOSTS"),
    *("GLACIER_IR", "NONE"),
)
_ACLS = (
    *("private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read"),
    *("bucket-owner-read", "bucket-owner-full-control"),
)
_LOG_LEVELS = ("off", "debug", "debugwithrequestretries", "debugwithrequesterrors")
# What these would log are signatures and the contents of images.
_UNLOGGED = ("debugwithsigning", "debugwithhttpbody", "debugwitheventstreambody")


def _between(least: int, most: int) -> Callable[[int], int]:
    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"must be between {least} and {most} bytes: {value}")
        return value

    return check


def _storage_class(value: Any) -> str:
    word = str(value).upper() if isinstance(value, str) else ""
    if word not in STORAGE_CLASSES:
        raise ValueError(f"must be one of {', '.join(STORAGE_CLASSES)}, not {value!r}")
    return word


def _log_level(value: Any) -> str:
    word = value.lower() if isinstance(value, str) else value
    # YAML reads a bare `off` as false.
    if word is False or word == "false":
        return "off"
    if word in _UNLOGGED:
        raise ValueError(
            f"{word} is not supported, as it would log signatures or contents; "
            f"write one of {', '.join(_LOG_LEVELS)}"
        )
    return one_of(*_LOG_LEVELS)(word)


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        good = bool(parts.hostname) and parts.scheme in {"", "http", "https"} and parts.username is None
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        shown = "" if "@" in value else f": {value!r}"  # what stands before an @ may be a password
        raise ValueError(f"not an endpoint (a host, host:port, or http or https URL){shown}")
    return value


def _at_least_a_second(value: float) -> float:
    if value < 1:
        raise ValueError(f"must be at least 1s: {value:g}s")
    return value


_Name = Annotated[Text, AfterValidator(not_empty)]
_Given = Annotated[Text | None, BeforeValidator(empty_is_none)]
_Endpoint = Annotated[Annotated[Text, AfterValidator(_endpoint)] | None, BeforeValidator(empty_is_none)]
_PartSize = Annotated[ByteSize, AfterValidator(_between(_MIN_PART, _MAX_PART))]
_CopySize = Annotated[ByteSize, AfterValidator(_between(0, _MAX_PART))]


class S3(Section):
    """`storage.s3`: a bucket of S3, or of what speaks its protocol. Sizes are bytes, `timeout` is seconds."""

    open_to_environment: ClassVar[bool] = True

    bucket: _Name
    region: _Name
    accesskey: _Given = None
    secretkey: Secret = None
    sessiontoken: Secret = None
    regionendpoint: _Endpoint = None
    redirectendpoint: _Endpoint = None
    forcepathstyle: Flag | None = None
    encrypt: Flag = False
    keyid: _Given = None
    secure: Flag = True
    skipverify: Flag = False
    v4auth: Flag = True
    chunksize: _PartSize = 10 * _MIB
    multipartcopychunksize: _PartSize = 32 * _MIB
    multipartcopymaxconcurrency: Annotated[Count, AfterValidator(one_or_more)] = 100
    multipartcopythresholdsize: _CopySize = 32 * _MIB
    rootdirectory: Text = ""
    storageclass: Annotated[str, BeforeValidator(_storage_class)] = "STANDARD"
    useragent: Text = ""
    objectacl: Annotated[str, BeforeValidator(one_of(*_ACLS))] = "private"
    usedualstack: Flag = False
    accelerate: Flag = False
    usefipsendpoint: Flag = False
    loglevel: Annotated[str, BeforeValidator(_log_level)] = "off"
    timeout: Annotated[Seconds, AfterValidator(_at_least_a_second)] = 30.0

    @model_validator(mode="after")
    def _go_together(self) -> S3:
        if (self.accesskey is None) != (self.secretkey is None):
            raise ValueError("accesskey and secretkey go together; without both, the standard chain is asked")
        if self.sessiontoken is not None and self.secretkey is None:
            raise ValueError("sessiontoken needs accesskey and secretkey")
        if self.keyid is not None and not self.encrypt:
            raise ValueError("keyid needs 'encrypt: true'")
        if not self.v4auth and self.regionendpoint is None:
            raise ValueError("v4auth may only be false with a regionendpoint; AWS takes no other signature")
        if self.accelerate and (self.regionendpoint is not None or self.forcepathstyle):
            raise ValueError("accelerate is for AWS: it goes with neither regionendpoint nor forcepathstyle")
        return self
