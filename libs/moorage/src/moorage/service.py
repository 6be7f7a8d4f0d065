"""What a service is to the `moorage` command: a name and a coroutine that serves until told to stop.

Each service names its own in the entry point group `moorage.services`, so the command starts any of them
and the shared library imports none.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from moorage.config import Configuration
from moorage.workers import Workers

ENTRY_POINT_GROUP = "moorage.services"


@dataclass(frozen=True, slots=True)
class Service:
    """A runnable service.

    `run` serves until `stop` is set, then drains. It raises ConfigurationError before it listens when the
    configuration does not hold, and OSError when it cannot have its address. `workers` says how it runs as
    several processes, if it can: `run` is then called in each.
    """

    name: str
    run: Callable[[Configuration, asyncio.Event], Awaitable[None]]
    workers: Workers | None = None


def service_names() -> list[str]:
    """The services that are installed."""
    return sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))


def load_service(name: str) -> Service:
    """The installed service of that name; raises LookupError when there is none."""
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        service = point.load()
        if not isinstance(service, Service):
            raise TypeError(f"{point.value} is not a Service")
        return service
    raise LookupError(f"no service {name!r}; installed: {', '.join(service_names()) or 'none'}")


async def run_until_signalled(service: Service, config: Configuration) -> None:
    """Run a service until SIGTERM or SIGINT, and let it drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service.run(config, stop)
