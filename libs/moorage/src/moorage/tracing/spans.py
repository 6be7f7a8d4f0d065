"""Spans, while tracing is on. Each function but `is_on` is only called then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Attributes = Mapping[str, str | int | float | bool]

_tracer: Tracer | None = None


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def use(tracer: Tracer | None) -> None:
    """Make spans with this tracer from now on; None for no spans."""
    global _tracer
    _tracer = tracer


def ids() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, as log lines have them."""
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(found.trace_id), "span_id": trace.format_span_id(found.span_id)}


def enter_server_span(
    name: str,
    carrier: Mapping[str, str],
    attributes: Attributes,
    *,
    kind: Literal["server", "consumer"] = "server",
) -> Span:
    """Begin the span of a request, a call or a message that came in with these header fields, in lower case.

    It stays the current one of the running task, which is that request's alone: so nothing has to be put
    back, and `leave_server_span` may be called from elsewhere, as when a generator is closed.
    """
    from opentelemetry import context, propagate, trace

    parent = propagate.extract(dict(carrier), context=context.Context())
    span = _used().start_span(
        name, context=parent, kind=trace.SpanKind[kind.upper()], attributes=dict(attributes)
    )
    context.attach(trace.set_span_in_context(span, parent))
    return span


def leave_server_span(span: Span, error: BaseException | str | None, attributes: Attributes) -> None:
    """End it. `error` is for what is this side's fault, not for a refusal."""
    span.set_attributes(dict(attributes))
    _fail(span, error)
    span.end()


@contextmanager
def client_span(name: str, attributes: Attributes) -> Iterator[Span]:
    """The span of a call to another service, the current one meanwhile."""
    from opentelemetry import trace

    span = _used().start_span(name, kind=trace.SpanKind.CLIENT, attributes=dict(attributes))
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            _fail(span, error)
            raise


def record(
    name: str, seconds: float, attributes: Attributes, error: BaseException | str | None = None
) -> None:
    """A span of what took so many seconds and has ended now. `error` is as for `leave_server_span`."""
    now = time.time_ns()
    span = _used().start_span(name, start_time=now - int(seconds * 1e9), attributes=dict(attributes))
    _fail(span, error)
    span.end(now)


def _fail(span: Span, error: BaseException | str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error is not None:
        text = error if isinstance(error, str) else type(error).__name__
        span.set_status(Status(StatusCode.ERROR, text))
        span.set_attribute("error.type", text)


def _used() -> Tracer:
    if _tracer is None:
        raise RuntimeError("tracing is off")
    return _tracer


def inject(carrier: Any) -> None:
    """Add the current trace's context to header fields."""
    from opentelemetry import propagate

    propagate.inject(carrier)
