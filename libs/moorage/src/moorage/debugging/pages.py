"""The pages of the debug listener."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from moorage.config import Configuration
from moorage.debugging.health import Health, SwitchableHealth
from moorage.debugging.inspectors import PPROF, Inspector, index_page, of_one_process
from moorage.inspection import Answer, Question
from moorage.inspection.questions import JSON, TEXT

Exposition = Callable[[], Awaitable[bytes]]
"""What is counted, in Prometheus' text format."""

# The check that an operator fails by hand.
MANUAL = "manual_http_status"


async def of_this_process() -> bytes:
    """What this process counts."""
    return generate_latest(REGISTRY)


@dataclass(frozen=True, slots=True)
class Pages:
    """What a listener answers. Without `metrics_path` there are no metrics."""

    health: Health
    metrics_path: str | None = "/metrics"
    metrics: Exposition = of_this_process
    inspector: Inspector = of_one_process

    @classmethod
    def of_service(cls, config: Configuration, health: Health) -> Pages:
        """Those of a service behind the gateway: its listener has metrics in any case."""
        return cls(health, config.http.debug.prometheus.path)

    async def answer(
        self, method: str, path: str, query: Mapping[str, str], *, from_browser: bool = False
    ) -> Answer:
        """Answer one request. `from_browser`: a page of some site sent it, and it must change nothing."""
        if path in ("/debug/health/up", "/debug/health/down"):
            return self._switched(method, path, from_browser)
        if method not in ("GET", "HEAD"):
            return Answer(404, TEXT, b"not found\n")
        if path == "/debug/health":
            errors = self.health.errors
            # What is only degraded is told, and fails nothing.
            return Answer(503 if errors else 200, JSON, _document({**self.health.degraded, **errors}))
        if path == "/debug/alive":
            return Answer(200, JSON, _document({}))
        if path == self.metrics_path:
            return Answer(200, CONTENT_TYPE_LATEST, await self.metrics())
        if path == "/debug/vars":
            return await self.inspector(Question("vars", query))
        if path in (PPROF, PPROF.rstrip("/")):
            return Answer(200, TEXT, index_page())
        if path.startswith(PPROF):
            return await self.inspector(Question(path.removeprefix(PPROF), query))
        return Answer(404, TEXT, b"not found\n")

    def _switched(self, method: str, path: str, from_browser: bool) -> Answer:
        if not isinstance(self.health, SwitchableHealth):
            return Answer(404, TEXT, b"only a gateway is taken out of service by hand\n")
        if method != "POST":
            return Answer(404, TEXT, b"only POST changes the health\n")
        if from_browser:
            return Answer(403, TEXT, b"no web page changes the health\n")
        if path == "/debug/health/up":
            self.health.recover(MANUAL)
        else:
            self.health.fail(MANUAL, "manual check")
        return Answer(200, TEXT, b"")


def _document(value: Mapping[str, str]) -> bytes:
    return json.dumps(value).encode()
