"""Structured logs in distribution's formats: text, json or logstash, on standard error.

Every line carries the component (which service speaks), the process's instance id, the configuration's
static fields and, inside a request, its id and what else is known of it. A value can never start a line of
its own: line breaks are escaped.

Levels are those of distribution's logger, logrus: `critical` of Python's is `panic` there, an exception that
nobody expected.
"""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import structlog
from structlog.processors import CallsiteParameter, CallsiteParameterAdder

from moorage import build, context
from moorage.loghooks import HOOK_KEY, LogHook
from moorage.tracing import spans as tracing

# New with each process, so that two runs of one service can be told apart.
INSTANCE_ID = str(uuid.uuid4())

_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

# What an exception that nobody expected is logged as.
PANIC = "panic"

_Event = MutableMapping[str, Any]
_Processor = Callable[[Any, str, _Event], Any]

_hooks: list[LogHook] = []


def configure(
    *,
    level: str,
    formatter: str,
    fields: Mapping[str, Any],
    service: str,
    report_caller: bool = False,
    hooks: Sequence[LogHook] = (),
) -> None:
    """Set up logging for this process.

    `level` is error, warn, info or debug; `formatter` is text, json or logstash; `fields` stand on every
    line. With `report_caller` each line says where in the code it was written. `hooks` are told of the lines
    of their levels; `close` ends them.
    """
    # `component`, since `service` is what the reference's example configurations name a field of theirs.
    static = {"component": service, "version": build.version(), **fields, "instance.id": INSTANCE_ID}
    close(0.0)
    _hooks.extend(hooks)
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            _context_fields(static),
            *(_caller() if report_caller else ()),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            *((_telling(tuple(hooks)),) if hooks else ()),
            *_renderers(formatter, service),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard library's logging; uvicorn's own access log is replaced by ours.
    handler = _StandardLibraryBridge()
    logging.basicConfig(level=max(_LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def close(seconds: float) -> None:
    """Let the hooks deliver what they were told, for so many seconds at most; then they are told nothing."""
    while _hooks:
        _hooks.pop().close(seconds)


def _context_fields(static: Mapping[str, Any]) -> _Processor:
    def add(_logger: Any, _method: str, event: _Event) -> _Event:
        if event["level"] == "critical":
            event["level"] = PANIC
        request_id = context.request_id.get()
        if request_id:
            event.setdefault("http.request.id", request_id)
        fields = context.log_fields.get()
        if fields is not None:
            for key, value in fields().items():
                event.setdefault(key, value)
        if tracing.is_on():
            event.update(tracing.ids())
        for key, value in static.items():
            event.setdefault(key, value)
        return event

    return add


def _caller() -> list[_Processor]:
    """`file` and `func` of each line, as distribution's `log.reportcaller` writes them."""
    parameters = (CallsiteParameter.PATHNAME, CallsiteParameter.LINENO, CallsiteParameter.QUAL_NAME)

    def name(_logger: Any, _method: str, event: _Event) -> _Event:
        path, line, function = (event.pop(parameter.value, "") for parameter in parameters)
        event.setdefault("file", f"{path}:{line}")
        event.setdefault("func", function)
        return event

    return [CallsiteParameterAdder(parameters, additional_ignores=[__name__]), name]


def _telling(hooks: Sequence[LogHook]) -> _Processor:
    def tell(_logger: Any, _method: str, event: _Event) -> _Event:
        # A line about a hook's own trouble is for no hook.
        if HOOK_KEY not in event:
            for hook in hooks:
                hook.take(event)
        return event

    return tell


def _renderers(formatter: str, service: str) -> list[Any]:
    if formatter == "text":
        return [_text_line]
    if formatter == "logstash":
        return [_logstash(service), structlog.processors.JSONRenderer(default=str)]
    return [structlog.processors.EventRenamer("msg"), structlog.processors.JSONRenderer(default=str)]


def _text_line(_logger: Any, _method: str, event: _Event) -> str:
    head = [("time", event.pop("time")), ("level", event.pop("level")), ("msg", event.pop("event"))]
    exception = event.pop("exception", None)
    pairs = [*head, *sorted(event.items())]
    if exception is not None:
        pairs.append(("exception", exception))
    return " ".join(f"{key}={_quoted(value)}" for key, value in pairs)


def _quoted(value: Any) -> str:
    text = str(value)
    if text and text.isascii() and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """A text as it can stand between double quotes on one line of a terminal: nothing in it does anything."""
    return "".join(_ESCAPES.get(each) or _escape(each) for each in text)


_ESCAPES = {'"': '\\"', "\\": "\\\\"}


def _escape(character: str) -> str:
    # Line breaks, control characters, marks that turn a line around, and halves of a character.
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _logstash(service: str) -> _Processor:
    def rename(_logger: Any, _method: str, event: _Event) -> _Event:
        event["@timestamp"] = event.pop("time")
        event["@version"] = "1"
        event["message"] = event.pop("event")
        event.setdefault("type", service)
        return event

    return rename


class _StandardLibraryBridge(logging.Handler):
    """Passes the standard library's records on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        logger = structlog.get_logger(record.name)
        method = logger.error if record.levelno >= logging.ERROR else logger.warning
        if record.levelno < logging.WARNING:
            method = logger.info
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        method(record.getMessage(), logger=record.name, **({"exc_info": exc_info} if exc_info else {}))
