"""The metrics that the code defines, as docs/monitoring.md lists them.

`PYTHONPATH=tests python -m support.metrics` prints the list for that page.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from prometheus_client.metrics import MetricWrapperBase

# Who exposes what a package defines. What the library defines, whoever uses that part of it does.
PACKAGES = {
    "api_gateway": "api-gateway",
    "blob_service": "blob-service",
    "metadata_service": "metadata-service",
    "notifier": "notifier",
    "moorage": "",
}


@dataclass(frozen=True)
class Defined:
    """A metric: its name as Prometheus has it, its type and labels, whose it is, and what it counts."""

    name: str
    type: str
    labels: tuple[str, ...]
    service: str
    meaning: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series."""
        if self.type == "histogram":
            return tuple(f"{self.name}_{each}" for each in ("bucket", "count", "sum"))
        return (self.name,)

    @property
    def row(self) -> str:
        labels = ", ".join(f"`{each}`" for each in self.labels)
        meaning = self.meaning.rstrip(".") + "."
        return f"| `{self.name}` | {self.type} | {labels} | {self.service or 'all'} | {meaning} |"


@cache
def defined_metrics() -> tuple[Defined, ...]:
    """All of them, service by service and by name."""
    # The command line brings the services' verbs in by itself, and must come before them.
    importlib.import_module("moorage.cli")
    found: dict[str, Defined] = {}
    for package, service in PACKAGES.items():
        for module in _modules(package):
            for value in vars(module).values():
                if isinstance(value, MetricWrapperBase):
                    if value._labelvalues:  # a child of one that stands somewhere as well
                        continue
                    name = value._name + ("_total" if value._type == "counter" else "")
                    found[name] = Defined(name, value._type, value._labelnames, service, value._documentation)
    order = list(PACKAGES.values())
    return tuple(sorted(found.values(), key=lambda each: (order.index(each.service), each.name)))


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    yield root
    for each in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not each.name.endswith("__main__"):
            yield importlib.import_module(each.name)


if __name__ == "__main__":
    print("| metric | type | labels | service | meaning |\n| --- | --- | --- | --- | --- |")
    for each in defined_metrics():
        print(each.row)
