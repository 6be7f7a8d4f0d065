"""Structured logs in distribution's formats: text, json or logstash, on standard error.

Every line carries the component (which service speaks), the process's instance id, the configuration's
static fields and, inside a request, its id. A value can never start a line of its own: line breaks are
escaped.
"""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from moorage import __version__, context

# New with each process, so that two runs of one service can be told apart.
INSTANCE_ID = str(uuid.uuid4())

_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

_Event = MutableMapping[str, Any]


def configure(*, level: str, formatter: str, fields: Mapping[str, Any], service: str) -> None:
    """Set up logging for this process.

    `level` is error, warn, info or debug; `formatter` is text, json or logstash; `fields` stand on every
    line.
    """
    # `component`, since `service` is what the reference's example configurations name a field of theirs.
    static = {"component": service, "version": __version__, **fields, "instance.id": INSTANCE_ID}
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            _static_fields(static),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *_renderers(formatter, service),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard library's logging; uvicorn's own access log is replaced by ours.
    handler = _StandardLibraryBridge()
    logging.basicConfig(level=max(_LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def _static_fields(static: Mapping[str, Any]) -> Any:
    def add(_logger: Any, _method: str, event: _Event) -> _Event:
        for key, value in static.items():
            event.setdefault(key, value)
        request_id = context.request_id.get()
        if request_id:
            event.setdefault("http.request.id", request_id)
        return event

    return add


def _renderers(formatter: str, service: str) -> list[Any]:
    if formatter == "text":
        return [_text_line]
    if formatter == "logstash":
        return [_logstash(service), structlog.processors.JSONRenderer(default=str)]
    return [structlog.processors.EventRenamer("msg"), structlog.processors.JSONRenderer(default=str)]


def _text_line(_logger: Any, _method: str, event: _Event) -> str:
    head = [("time", event.pop("timestamp")), ("level", event.pop("level")), ("msg", event.pop("event"))]
    exception = event.pop("exception", None)
    pairs = [*head, *sorted(event.items())]
    if exception is not None:
        pairs.append(("exception", exception))
    return " ".join(f"{key}={_quoted(value)}" for key, value in pairs)


def _quoted(value: Any) -> str:
    text = str(value)
    if text and text.isascii() and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'


def _logstash(service: str) -> Any:
    def rename(_logger: Any, _method: str, event: _Event) -> _Event:
        event["@timestamp"] = event.pop("timestamp")
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
