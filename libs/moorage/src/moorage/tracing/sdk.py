"""OpenTelemetry's SDK, from start to flush."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from moorage import build, context
from moorage.logging import INSTANCE_ID
from moorage.tracing import spans
from moorage.tracing.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = structlog.get_logger("moorage.tracing")

# Seconds that spans get to be exported at the end.
_FLUSH = 2.0


@contextmanager
def tracing(settings: Settings, component: str) -> Iterator[None]:
    """Make spans while the context is open, when the settings ask for any; then export what is left."""
    for warning in settings.warnings:
        log.warning("tracing", warning=warning)
    if not settings.enabled:
        yield
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    attributes = {
        "service.namespace": "moorage",
        "service.version": build.version(),
        "service.instance.id": INSTANCE_ID,
        "moorage.component": component,
    }
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = f"moorage-{component}"
    # The sampler, the limits and the resource's further attributes are those of OTEL_*.
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    for exporter in settings.exporters:
        provider.add_span_processor(BatchSpanProcessor(_exporter(exporter, settings.protocol)))
    context.propagate(spans.inject)
    spans.use(provider.get_tracer("moorage", build.version()))
    log.info("tracing is on", exporters=list(settings.exporters), protocol=settings.protocol)
    try:
        yield
    finally:
        spans.use(None)
        context.stop_propagating(spans.inject)
        # An exporter whose collector is away tries for longer than anybody waits here.
        flushing = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
        flushing.start()
        flushing.join(_FLUSH)
        if flushing.is_alive():
            log.warning("spans were not exported in time", seconds=_FLUSH)


def _exporter(name: str, protocol: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter()
