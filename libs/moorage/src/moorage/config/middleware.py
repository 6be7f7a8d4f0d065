"""`middleware`: what stands between the registry and its storage driver.

distribution lets a build bring its own kinds. Those for storage that come with it are known here; none come
with it for `registry` and `repository`, so that an entry there is refused (see `refusals`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, ValidationError

from moorage.config.document import resolved
from moorage.config.extensions import Parameters
from moorage.config.schema import nearest
from moorage.config.section import Section
from moorage.config.values import AbsoluteURL, Flag, Seconds, Text, one_of, warn

_SIGNED_SECONDS = 20 * 60.0

# RFC 3986's `host [ ":" port ]`, an IPv6 address in brackets.
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)

# It becomes part of every URL as it is.
_KEY_PAIR_ID = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class MiddlewareEntry(Section):
    """One entry of a list of `middleware`."""

    name: Text
    disabled: Flag = False
    options: Parameters = Field(default_factory=dict, repr=False)


def _with_scheme(value: Any) -> Any:
    return f"https://{value}" if isinstance(value, str) and "://" not in value else value


def _plain_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must have no user, no query and no fragment")
    return value


def _key_pair_id(value: str) -> str:
    if _KEY_PAIR_ID.fullmatch(value) is None:
        raise ValueError("must be letters and digits")
    return value


def _trimmed(value: Any) -> Any:
    return value.strip() or "none" if isinstance(value, str) else value


def _signed_seconds(value: Any, info: ValidationInfo) -> Any:
    # distribution takes a number without a unit for none at all, and nanoseconds would sign what has expired.
    if isinstance(resolved(value), int):
        warn(info, f"middleware.storage: cloudfront: duration: {value} has no unit; 20m is used")
        return "20m"
    return value


def _regions(value: str) -> str:
    return ",".join(region.strip().lower() for region in value.split(",") if region.strip())


class CloudFront(Section):
    """`options` of `cloudfront`: downloads by signed URLs of a CloudFront distribution."""

    baseurl: Annotated[AbsoluteURL, BeforeValidator(_with_scheme), AfterValidator(_plain_url)]
    privatekey: Text
    keypairid: Annotated[Text, AfterValidator(_key_pair_id)]
    duration: Annotated[Seconds, BeforeValidator(_signed_seconds)] = _SIGNED_SECONDS
    ipfilteredby: Annotated[
        Text, BeforeValidator(one_of("none", "aws", "awsregion", any_case=True)), BeforeValidator(_trimmed)
    ] = "none"
    awsregion: Annotated[Text, AfterValidator(_regions)] = ""
    updatefrequency: Seconds = 12 * 60 * 60.0
    # distribution's first spelling of `updatefrequency`, which goes before it there.
    updatefrenquency: Seconds | None = None
    iprangesurl: AbsoluteURL = "https://ip-ranges.amazonaws.com/ip-ranges.json"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ipfilteredby == "awsregion" and not self.awsregion:
            raise ValueError("'ipfilteredby: awsregion' needs 'awsregion', a list of regions with commas")
        if self.duration <= 0 or self.update_seconds <= 0:
            raise ValueError("'duration' and 'updatefrequency' must be more than nothing")
        return self

    @property
    def regions(self) -> frozenset[str]:
        """The regions of `awsregion` in lower case."""
        return frozenset(self.awsregion.split(",")) if self.awsregion else frozenset()

    @property
    def update_seconds(self) -> float:
        """How often to fetch the address ranges, under either spelling."""
        return self.updatefrequency if self.updatefrenquency is None else self.updatefrenquency


class RedirectTo(Section):
    """`options` of `redirect`: downloads from a web server that has the storage's tree."""

    baseurl: Annotated[AbsoluteURL, AfterValidator(_plain_url)]


def _host(value: str) -> str:
    if _HOST.fullmatch(value) is None:
        raise ValueError(f"not a host: {value!r}")
    return value


class Rewrite(Section):
    """`options` of `rewrite`: changes the URLs that come from below. Empty leaves a part as it is."""

    scheme: Annotated[Text, BeforeValidator(one_of("http", "https", any_case=True))] | None = None
    host: Annotated[Text, AfterValidator(_host)] | None = None
    trimpathprefix: Text = ""


# The kinds of storage middleware and what their options are.
STORAGE_MIDDLEWARE: Mapping[str, type[Section]] = {
    "cloudfront": CloudFront,
    "redirect": RedirectTo,
    "rewrite": Rewrite,
}


class StorageMiddleware(MiddlewareEntry):
    """One entry of `middleware.storage`; name and options of a disabled one need not mean anything."""

    # As the document has them: `settings` knows what each is.
    options: dict[str, Any] = Field(default_factory=dict, repr=False, validate_default=True)

    @field_validator("options")
    @classmethod
    def _whole(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        model = STORAGE_MIDDLEWARE.get(info.data.get("name", ""))
        if model is not None and not info.data.get("disabled"):
            model.model_validate(options, context=info.context)
        return options

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.disabled or self.name in STORAGE_MIDDLEWARE:
            return self
        near = nearest(self.name, STORAGE_MIDDLEWARE)
        sentence = f"unknown storage middleware {self.name!r}; known are {', '.join(STORAGE_MIDDLEWARE)}"
        sentence += f"; did you mean '{near}'?" if near else ""
        details = InitErrorDetails(
            type="value_error", loc=("name",), input=self.name, ctx={"error": ValueError(sentence)}
        )
        raise ValidationError.from_exception_data(type(self).__name__, [details])

    @property
    def settings(self) -> Section:
        """The options, typed: the model that STORAGE_MIDDLEWARE has for the name. Not of a disabled entry."""
        return STORAGE_MIDDLEWARE[self.name].model_validate(self.options)


class Middleware(Section):
    """`middleware`."""

    open_to_environment = True

    registry: tuple[MiddlewareEntry, ...] = ()
    repository: tuple[MiddlewareEntry, ...] = ()
    storage: tuple[StorageMiddleware, ...] = ()
