"""The parent of a service's workers: starts them, keeps them running, and stops them together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from moorage.config import Configuration
from moorage.supervisor.child import Program
from moorage.supervisor.parent_death import SUPERVISED, WORKER
from moorage.supervisor.programs import DRAIN_MARGIN, serve_command
from moorage.supervisor.supervisor import Signals, Supervisor
from moorage.workers.fleet import Fleet, Workers
from moorage.workers.roster import Roster
from moorage.workers.worker import ROSTER

log = structlog.get_logger("moorage.workers")


async def run_workers(
    service: str,
    workers: Workers,
    config: Configuration,
    config_path: Path | None,
    environ: Mapping[str, str],
) -> bool:
    """Run a service as several processes until a signal says to stop; True when all of them drained.

    `config` is what `config_path` (None for the one that `environ` leads to) and `environ` hold. Raises
    ConfigurationError and OSError before anything is started, and StartError when a worker does not come up.
    """
    signals = Signals()
    signals.listen()
    with Roster.opened() as roster:
        async with workers.opened(config, roster) as fleet:
            supervisor = Supervisor(signals, at_once=True)
            programs = _programs(service, fleet, roster, config, config_path, environ)
            try:
                if await supervisor.start(programs):
                    log.info("the workers are ready", service=service, workers=len(programs))
                    await supervisor.watch()
            finally:
                supervisor.retire()
                fleet.close()
                clean = await supervisor.drain()
        return clean


def _programs(
    service: str,
    fleet: Fleet,
    roster: Roster,
    config: Configuration,
    config_path: Path | None,
    environ: Mapping[str, str],
) -> list[Program]:
    async def is_ready(pid: int) -> bool:
        return roster.has(pid)

    def program(number: int, own: Mapping[str, str | None]) -> Program:
        def ended(pid: int) -> None:
            roster.dismiss(pid)
            fleet.ended(number)

        ours = {SUPERVISED: str(os.getpid()), WORKER: str(number), ROSTER: str(roster.descriptor)}
        merged = {**environ, **own, **ours}
        return Program(
            name=f"{service} worker {number}",
            command=serve_command(service, config_path),
            environment={name: value for name, value in merged.items() if value is not None},
            is_ready=is_ready,
            # Less than a supervisor of ours gives us.
            drain_limit=config.http.draintimeout + DRAIN_MARGIN / 2,
            descriptors=(roster.descriptor, *fleet.descriptors),
            ended=ended,
        )

    return [program(number, own) for number, own in enumerate(fleet.environments, start=1)]
