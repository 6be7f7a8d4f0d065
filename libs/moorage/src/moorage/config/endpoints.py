"""`notifications.endpoints`: the webhooks, each with what it wants to hear and how it is to be reached.

Durations are seconds. Source: distribution's `configuration` package and its documentation of notifications.
The rest is Moorage's own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from moorage.config.globs import Glob
from moorage.config.section import Section
from moorage.config.values import AbsoluteURL, Count, Flag, Headers, Lines, Seconds, Text, as_list, one_of
from moorage.public_addresses import is_public, parse_address

# distribution's: what an endpoint has when it says nothing, and when it says 0.
DEFAULT_TIMEOUT = 1.0
DEFAULT_THRESHOLD = 10
DEFAULT_BACKOFF = 1.0

_DAY = 24 * 60 * 60.0

_LONGEST_TIMEOUT = 60.0
_LONGEST_WAIT = 60.0
# Half of what the notifier holds of an endpoint: one batch is under way while another one comes together.
_MOST_EVENTS = 256
_MOST_REQUESTS = 64

# Source: Standard Webhooks, "Signature scheme": a symmetric key has 24 to 64 bytes.
_SECRET_PREFIX = "whsec_"  # noqa: S105  it is no secret
_KEY_BYTES = range(24, 65)

# What the notifier says itself.
_RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)


def _name(value: str) -> str:
    if not value or len(value) > 255 or not value.isprintable():
        raise ValueError("must be 1 to 255 printable characters")
    return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.username is not None or parts.password is not None:
        # The value holds a password: the sentence does not repeat it.
        raise ValueError("must not hold credentials; put them into an Authorization header in 'headers'")
    if parts.fragment:
        raise ValueError(f"must not have a fragment: {value!r}")
    return value


def _free_headers(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for name in value:
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"{name} is set by the notifier itself")
    return value


def _secret(value: Any) -> SecretStr:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str) or not value.startswith(_SECRET_PREFIX):
        raise ValueError(f"must be text that begins with {_SECRET_PREFIX}")
    try:
        key = base64.b64decode(value.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"must be base64 after {_SECRET_PREFIX}") from None
    if len(key) not in _KEY_BYTES:
        raise ValueError(f"must hold {_KEY_BYTES[0]} to {_KEY_BYTES[-1]} bytes, not {len(key)}")
    return SecretStr(value)


def signing_key(secret: SecretStr) -> bytes:
    """The key in a secret of `secrets`."""
    return base64.b64decode(secret.get_secret_value().removeprefix(_SECRET_PREFIX))


def _between(least: int, most: float, what: str = "") -> AfterValidator:
    def check(value: float) -> float:
        if not least <= value <= most:
            raise ValueError(f"must be from {least} to {most:g}{what}")
        return value

    return AfterValidator(check)


def _or(default: float) -> AfterValidator:
    """As in distribution, 0 is the default."""
    return AfterValidator(lambda value: value or default)


class Ignore(Section):
    """`ignore` of an endpoint: events of these media types or of these actions are not sent."""

    mediatypes: Lines = ()
    actions: Lines = ()


class Batch(Section):
    """`batch` of an endpoint: at most `events` in a request, and `wait` seconds for them to come together."""

    events: Annotated[Count, _between(1, _MOST_EVENTS)] = 1
    wait: Annotated[Seconds, _between(0, _LONGEST_WAIT, "s")] = 0.0


class EndpointTLS(Section):
    """`tls` of an endpoint: files of PEM. Without `ca`, the system's authorities are trusted."""

    ca: Text = ""
    certificate: Text = ""
    key: Text = ""


class Endpoint(Section):
    """One of `notifications.endpoints`."""

    name: Annotated[Text, AfterValidator(_name)]
    url: Annotated[AbsoluteURL, AfterValidator(_url)]
    disabled: Flag = False
    headers: Annotated[Headers, AfterValidator(_free_headers)] = Field(default_factory=dict, repr=False)
    timeout: Annotated[Seconds, _between(0, _LONGEST_TIMEOUT, "s"), _or(DEFAULT_TIMEOUT)] = DEFAULT_TIMEOUT
    threshold: Annotated[Count, _or(DEFAULT_THRESHOLD)] = DEFAULT_THRESHOLD
    backoff: Annotated[Seconds, _or(DEFAULT_BACKOFF)] = DEFAULT_BACKOFF
    ignoredmediatypes: Lines = ()
    ignore: Ignore = Field(default_factory=Ignore)

    maxbackoff: Seconds = 60.0
    maxattempts: Count = 0
    maxage: Seconds = 7 * _DAY
    repositories: Annotated[tuple[Glob, ...], BeforeValidator(as_list)] = ()
    batch: Batch = Field(default_factory=Batch)
    concurrency: Annotated[Count, _between(1, _MOST_REQUESTS)] = 8
    format: Annotated[
        Literal["distribution", "cloudevents"], BeforeValidator(one_of("distribution", "cloudevents"))
    ] = "distribution"
    mediatype: Annotated[Literal["v1", "v2"], BeforeValidator(one_of("v1", "v2"))] = "v2"
    secrets: Annotated[
        tuple[Annotated[SecretStr, BeforeValidator(_secret)], ...], BeforeValidator(as_list)
    ] = Field(default=(), repr=False)
    allowprivate: Flag | None = None
    tls: EndpointTLS = Field(default_factory=EndpointTLS)

    @property
    def ignored_media_types(self) -> frozenset[str]:
        """Both lists together."""
        return frozenset(self.ignoredmediatypes) | frozenset(self.ignore.mediatypes)


def problems(
    endpoints: Sequence[Endpoint], allows_private: Callable[[Endpoint], bool]
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """What does not go together: where below `endpoints` it stands, and a sentence."""
    names: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        first = names.setdefault(endpoint.name, index)
        if first != index:
            yield (index, "name"), f"{endpoint.name!r} is the name of endpoints[{first}] already"
        if endpoint.maxbackoff < endpoint.backoff:
            yield (index, "maxbackoff"), "must not be less than backoff"
        if bool(endpoint.tls.certificate) != bool(endpoint.tls.key):
            yield (index, "tls"), "certificate and key go together: one of them is missing"
        if urlsplit(endpoint.url).scheme == "http" and endpoint.tls != EndpointTLS():
            yield (index, "tls"), "is for https, and the URL is http"
        host = urlsplit(endpoint.url).hostname or ""
        address = parse_address(host)
        private = host == "localhost" or (address is not None and not is_public(address))
        if private and not allows_private(endpoint):
            yield (
                (index, "url"),
                f"{host} is not a public address; set 'allowprivate: true' on the endpoint if it is meant",
            )
