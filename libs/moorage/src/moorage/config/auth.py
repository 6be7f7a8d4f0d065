"""`auth`: who may do what.

Sources: distribution's docs/configuration.md (`auth`), and its `registry/auth` package, versions 2.8 and 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from moorage.config.failures import Failures
from moorage.config.section import Section
from moorage.config.tokenserver import TokenServer
from moorage.config.values import Flag, FreeForm, Text, as_list, not_empty

Kind = Literal["none", "silly", "htpasswd", "token"]

# The kinds of access control, of which one is chosen.
KINDS: tuple[Kind, ...] = ("none", "silly", "htpasswd", "token")

# Each is tied to the type of key that it goes with (`api_gateway.access.token.keys`).
SIGNING_ALGORITHMS = (
    "EdDSA",
    *(f"{family}{bits}" for family in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)),
)


def _quotable(value: str) -> str:
    """What may stand between quotes in a header."""
    not_empty(value)
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise ValueError("holds characters that a header cannot have")
    return value


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _algorithm(value: str) -> str:
    if value not in SIGNING_ALGORITHMS:
        raise ValueError(f"must be one of {', '.join(SIGNING_ALGORITHMS)}, not {value!r}")
    return value


def _redirect_path(value: str) -> str:
    if (
        not value.startswith("/")
        or value.startswith("//")
        or not value.isascii()
        or set(value) & set(' "\\?#')
    ):
        raise ValueError(f"must be the path of a URL: {value!r}")
    return _quotable(value)


_Quotable = Annotated[Text, AfterValidator(_quotable)]
_Path = Annotated[Text, AfterValidator(not_empty)]


OWN_REALM = "own"
"""The realm that nobody wrote: the registry's own token service."""

OWN_NAME = "moorage"
"""Service and issuer of a registry that is its own token service, if nobody named them."""


# What says how another token server's tokens are verified, and where it is.
_OF_ANOTHER_SERVER = frozenset(
    {"rootcertbundle", "jwks", "signingalgorithms", "autoredirect", "autoredirectpath"}
)


class _Kind(Section):
    """The parameters of one kind."""

    # In distribution they are a plain map.
    open_to_environment = True


class Silly(_Kind):
    """`auth.silly`: whoever sends any credentials may do everything. For tests."""

    realm: _Quotable
    service: _Quotable


class HTPasswd(_Kind):
    """`auth.htpasswd`: users with passwords in a file; each of them may do everything."""

    realm: _Quotable
    path: _Path
    failures: Failures = Field(default_factory=Failures)


class Token(_Kind):
    """`auth.token`: signed tokens from a token server, which say what they are for.

    With `server` (Moorage's own) the registry is its token server itself: then the keys are its own, and
    realm, service and issuer may be left out.
    """

    realm: _Quotable
    service: _Quotable
    issuer: _Quotable
    rootcertbundle: Text = ""
    jwks: Text = ""
    signingalgorithms: Annotated[
        tuple[Annotated[Text, AfterValidator(_algorithm)], ...], BeforeValidator(as_list)
    ] = SIGNING_ALGORITHMS
    autoredirect: Flag = False
    autoredirectpath: Annotated[Text, AfterValidator(_redirect_path)] = "/auth/token"
    server: TokenServer | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_names(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("server") is not None:
            return {"realm": OWN_REALM, "service": OWN_NAME, "issuer": OWN_NAME, **given}
        return given

    @property
    def finds_own_realm(self) -> bool:
        """Whether the realm is the registry's own, at the origin that each client asks."""
        return self.server is not None and self.realm == OWN_REALM

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.server is not None:
            foreign = self.model_fields_set & _OF_ANOTHER_SERVER
            if foreign:
                raise ValueError(
                    f"with 'server' tokens are signed by its own key: leave out {', '.join(sorted(foreign))}"
                )
            if self.realm != OWN_REALM and not _is_url(self.realm):
                raise ValueError(f"'realm' must be the URL of the token server, not {self.realm!r}")
            return self
        if not self.autoredirect and not _is_url(self.realm):
            raise ValueError(
                f"'realm' must be the URL of the token server, http or https, not {self.realm!r}"
            )
        if not self.rootcertbundle and not self.jwks:
            raise ValueError(
                "needs the keys that tokens are signed with: set rootcertbundle, or jwks, or both"
            )
        if not self.signingalgorithms:
            raise ValueError("'signingalgorithms' must name an algorithm, or be left out for all of them")
        return self


class Auth(Section):
    """`auth`: exactly one kind of access control; without the section, and with `none`, there is none."""

    open_to_environment = True

    # What is under `none` is of no use; distribution takes it too.
    none: dict[str, FreeForm] | None = None
    silly: Silly | None = None
    htpasswd: HTPasswd | None = None
    token: Token | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_absent(cls, given: Any) -> Any:
        """As in any section, but that `token:` with nothing after it is a kind without its parameters.

        To leave it out would open the registry.
        """
        if isinstance(given, Mapping):
            return {key: {} if value is None and key in KINDS else value for key, value in given.items()}
        return {} if given is None else given

    @property
    def kind(self) -> Kind:
        """The kind of access control that is configured."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), "none")
