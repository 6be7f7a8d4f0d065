"""`log`: levels, format, the access log, and who is told of lines."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import InitErrorDetails, ValidationError

from moorage.config.section import Section
from moorage.config.values import (
    Count,
    Flag,
    FreeForm,
    HostPort,
    Lines,
    Seconds,
    Secret,
    Text,
    as_list,
    empty_is_none,
    more_than_zero,
    one_of,
    one_or_more,
    split_host_port,
)

LogLevel = Annotated[
    Literal["error", "warn", "info", "debug"],
    BeforeValidator(one_of("error", "warn", "info", "debug", any_case=True)),
]
LogFormatter = Annotated[
    Literal["text", "json", "logstash"], BeforeValidator(one_of("text", "json", "logstash"))
]

# logrus' levels, which distribution takes for hooks. Nothing here is ever logged as fatal or trace.
HOOK_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")
HookLevel = Annotated[Text, BeforeValidator(one_of(*HOOK_LEVELS, any_case=True))]

HOOK_TYPES = ("mail",)

# The port of SMTP over TLS. Source: RFC 8314.
_SUBMISSIONS = 465

# RFC 5321's `local-part@domain`, without quotes.
_MAIL_ADDRESS = re.compile(r"[^\s@<>,;:\"\\\x00-\x1f\x7f]+@[^\s@<>,;\"\\\x00-\x1f\x7f]+")

TLSMode = Literal["auto", "starttls", "implicit", "none"]


def _mail_address(value: str) -> str:
    if _MAIL_ADDRESS.fullmatch(value) is None:
        raise ValueError(f"not a mail address: {value!r}")
    return value


def _smtp_address(value: str) -> str:
    _, port = split_host_port(value)
    if port == 0:
        raise ValueError(f"must name a port: {value!r}")
    return value


MailAddress = Annotated[Text, AfterValidator(_mail_address)]


class AccessLog(Section):
    """`log.accesslog`."""

    disabled: Flag = False


class SMTP(Section):
    """`smtp` of a mail hook's options.

    `insecure`: take any certificate, and give the password also to a server without TLS. `tls` and `rootcas`
    are Moorage's own. Ask `mode`.
    """

    addr: Annotated[HostPort | None, AfterValidator(lambda value: value and _smtp_address(value))] = None
    username: Annotated[Text | None, BeforeValidator(empty_is_none)] = None
    password: Secret = None
    insecure: Flag = False
    tls: Annotated[TLSMode, BeforeValidator(one_of("auto", "starttls", "implicit", "none"))] = "auto"
    rootcas: Lines = ()

    @property
    def mode(self) -> TLSMode:
        """How TLS begins: `auto` means STARTTLS where the server offers it, and `implicit` on port 465."""
        if self.tls == "auto" and self.addr is not None and split_host_port(self.addr)[1] == _SUBMISSIONS:
            return "implicit"
        return self.tls


class MailOptions(Section):
    """`options` of a hook of type `mail`. `rate` is mails in a minute, `timeout` seconds for each."""

    smtp: SMTP = Field(default_factory=SMTP)
    from_: Annotated[MailAddress | None, BeforeValidator(empty_is_none)] = Field(default=None, alias="from")
    to: Annotated[tuple[MailAddress, ...], BeforeValidator(as_list)] = ()
    rate: Annotated[Count, AfterValidator(one_or_more)] = 10
    timeout: Annotated[Seconds, AfterValidator(more_than_zero)] = 30.0

    @property
    def sender(self) -> str:
        """`from`, which a hook that is not disabled has."""
        return self.from_ or ""


class Hook(Section):
    """One of `log.hooks`. A disabled one may leave anything out."""

    type: Text
    disabled: Flag = False
    levels: Annotated[tuple[HookLevel, ...], BeforeValidator(as_list)] = ()
    options: MailOptions = Field(default_factory=MailOptions)

    @property
    def fired_by(self) -> frozenset[str]:
        """The levels, as they stand on a line."""
        return frozenset("warning" if level == "warn" else level for level in self.levels)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.disabled:
            return self
        problems: list[tuple[tuple[str, ...], str]] = []
        if self.type not in HOOK_TYPES:
            sentence = f"unknown type of hook {self.type!r}; known are {', '.join(HOOK_TYPES)}"
            problems.append((("type",), sentence))
        else:
            options = self.options
            required = {
                ("levels",): self.levels,
                ("options", "smtp", "addr"): options.smtp.addr,
                ("options", "from"): options.from_,
                ("options", "to"): options.to,
            }
            problems += [(location, "is required") for location, value in required.items() if not value]
            if options.smtp.password is not None and options.smtp.username is None:
                problems.append((("options", "smtp", "username"), "is required where there is a password"))
        if problems:
            details = [
                InitErrorDetails(
                    type="value_error", loc=location, input=None, ctx={"error": ValueError(sentence)}
                )
                for location, sentence in problems
            ]
            raise ValidationError.from_exception_data(type(self).__name__, details)
        return self


class Log(Section):
    """`log`."""

    accesslog: AccessLog = Field(default_factory=AccessLog)
    level: LogLevel = "info"
    formatter: LogFormatter = "text"
    fields: dict[str, FreeForm] = Field(default_factory=dict)
    reportcaller: Flag = False
    hooks: tuple[Hook, ...] = ()
