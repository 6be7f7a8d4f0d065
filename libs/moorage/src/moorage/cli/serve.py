"""`moorage serve`: one service in this process."""

from __future__ import annotations

import os
from typing import Annotated

import typer
import uvloop

from moorage.cli.failures import failures
from moorage.cli.options import ConfigPath, log_warnings, set_up_logging
from moorage.config import load
from moorage.service import load_service, run_until_signalled, service_names
from moorage.supervisor.parent_death import SUPERVISED


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
    """Run one service until SIGTERM or Ctrl-C, then let it drain."""
    with failures():
        config = load(config_path, os.environ)
        set_up_logging(config, service)
        if SUPERVISED not in os.environ:
            # A supervisor has said it already, once for all services.
            log_warnings(config)
        uvloop.run(run_until_signalled(load_service(service), config))
