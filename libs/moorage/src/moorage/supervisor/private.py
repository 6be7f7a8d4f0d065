"""Some services for one piece of work, behind sockets that nobody else knows."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from moorage.config import Configuration
from moorage.supervisor.errors import StartError
from moorage.supervisor.folders import make_runtime_folder
from moorage.supervisor.programs import backend_programs, service_environment
from moorage.supervisor.supervisor import Signals, Supervisor


class StoppedError(StartError):
    """The operator stopped the work."""


@asynccontextmanager
async def private_services(
    names: Sequence[str], config: Configuration, config_path: Path | None, environ: Mapping[str, str]
) -> AsyncIterator[Path]:
    """Run services of a configuration while the context is open; the folder of their sockets.

    `names` are in the order in which they stop. A signal to stop, or a service that does not stay up, cancels
    what runs in the context. Raises StartError then, and when a service does not come up.
    """
    runtime = make_runtime_folder(environ)
    signals = Signals()
    signals.listen()
    supervisor = Supervisor(signals)
    try:
        environment = service_environment(environ, runtime, secret=None, broker_url=None)
        programs = backend_programs(config, config_path, runtime, environment, names)
        if not await supervisor.start(programs):
            raise StoppedError("stopped")
        watching = asyncio.create_task(supervisor.watch())
        async with _ended_by(watching):
            yield runtime
    finally:
        await supervisor.drain()
        shutil.rmtree(runtime)


@asynccontextmanager
async def _ended_by(watching: asyncio.Task[None]) -> AsyncIterator[None]:
    """Cancel the current task when `watching` ends first, and raise what that means."""
    work = asyncio.current_task()
    if work is None:
        raise RuntimeError("not in a task")

    def stop(_: asyncio.Task[None]) -> None:
        work.cancel()

    watching.add_done_callback(stop)
    try:
        yield
    except asyncio.CancelledError:
        if not watching.done():
            raise
        work.uncancel()
        watching.result()
        raise StoppedError("stopped") from None
    finally:
        watching.remove_done_callback(stop)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
