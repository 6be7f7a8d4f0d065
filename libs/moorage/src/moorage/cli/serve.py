"""`moorage serve`: one service, in this process or in several that are its children."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from moorage import build, logging, tracing
from moorage.cli.failures import FAILURE, failures
from moorage.cli.options import ConfigPath, log_warnings, set_up_logging
from moorage.config import Configuration, load
from moorage.service import Service, load_service, run_until_signalled, service_names
from moorage.supervisor.parent_death import SUPERVISED
from moorage.tracing import sdk
from moorage.workers import is_worker
from moorage.workers.parent import run_workers


def _installed(name: str) -> str:
    names = service_names()
    if name not in names:
        raise typer.BadParameter(f"no service {name!r}; installed: {', '.join(names) or 'none'}")
    return name


def serve(
    service: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE",
            callback=_installed,
            help="gateway, blob, metadata or notifier.",
            show_default=False,
        ),
    ],
    config_path: ConfigPath = None,
) -> None:
    """Run one service until SIGTERM or Ctrl-C, then let it drain.

    The gateway and the blob service run as several processes where the configuration (http.workers,
    services.blob.workers) or the number of cores says so.
    """
    with failures():
        config = load(config_path, os.environ)
        set_up_logging(config, service)
        build.publish(service, logging.INSTANCE_ID)
        if SUPERVISED not in os.environ:
            # A supervisor has said it already, once for all services.
            log_warnings(config)
        # Before there are workers: one line says what is wrong.
        settings = tracing.checked(os.environ)
        if not _run(load_service(service), config, config_path, settings):
            raise typer.Exit(FAILURE)


def _run(service: Service, config: Configuration, config_path: Path | None, traces: tracing.Settings) -> bool:
    """Run it here, or as the parent of its workers; False when one of them had to be killed."""
    workers = service.workers
    if workers is None or is_worker(os.environ) or workers.count(config) == 1:
        with sdk.tracing(traces, service.name):
            uvloop.run(run_until_signalled(service, config))
        return True
    return asyncio.run(run_workers(service.name, workers, config, config_path, os.environ))
