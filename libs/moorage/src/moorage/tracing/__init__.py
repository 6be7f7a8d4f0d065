"""Traces by OpenTelemetry, as its standard environment variables say; off unless they ask for an exporter.

While it is off its SDK is not imported, and each place that would make a span asks one boolean.
A trace crosses the services in W3C's `traceparent`: HTTP headers, gRPC metadata, the data channel's loans.

Source: OpenTelemetry specification, "Environment Variable Specification"; W3C Trace Context.
"""

from moorage.tracing.settings import Settings, checked
from moorage.tracing.spans import (
    client_span,
    enter_server_span,
    ids,
    is_on,
    leave_server_span,
    record,
)

__all__ = [
    "Settings",
    "checked",
    "client_span",
    "enter_server_span",
    "ids",
    "is_on",
    "leave_server_span",
    "record",
]
