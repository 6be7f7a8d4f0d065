"""`log`: levels, format and the access log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from moorage.config.section import Section
from moorage.config.values import Flag, FreeForm, Lines, Text, one_of

LogLevel = Annotated[
    Literal["error", "warn", "info", "debug"],
    BeforeValidator(one_of("error", "warn", "info", "debug", any_case=True)),
]
LogFormatter = Annotated[
    Literal["text", "json", "logstash"], BeforeValidator(one_of("text", "json", "logstash"))
]


class AccessLog(Section):
    """`log.accesslog`."""

    disabled: Flag = False


class Hook(Section):
    """One of `log.hooks`. Only a disabled one gets past `refusals`."""

    type: Text
    disabled: Flag = False
    levels: Lines = ()
    options: dict[str, FreeForm] = Field(default_factory=dict, repr=False)


class Log(Section):
    """`log`."""

    accesslog: AccessLog = Field(default_factory=AccessLog)
    level: LogLevel = "info"
    formatter: LogFormatter = "text"
    fields: dict[str, FreeForm] = Field(default_factory=dict)
    reportcaller: Flag = False
    hooks: tuple[Hook, ...] = ()
