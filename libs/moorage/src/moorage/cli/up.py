"""`moorage up`: everything on one machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import structlog
import typer

from moorage.cli.failures import FAILURE, failures
from moorage.cli.options import AsJSON, ConfigPath, log_warnings, set_up_logging
from moorage.config import data_dir, load
from moorage.supervisor.up import check
from moorage.supervisor.up import up as run_everything

log = structlog.get_logger("moorage")


def up(config_path: ConfigPath = None, as_json: AsJSON = False) -> None:
    """Run all four services and their broker on this machine, until Ctrl-C.

    MOORAGE_DATA_DIR says where data are kept; by default ~/.local/share/moorage.

    A second Ctrl-C ends everything at once. With --json the line that says that it is ready is JSON.
    """
    with failures():
        config = load(config_path, os.environ)
        check(config)
        set_up_logging(config, "supervisor")
        log_warnings(config)
        path = config_path.absolute() if config_path is not None else None
        announce = _announce_json if as_json else _announce
        clean = asyncio.run(run_everything(config, path, data_dir(os.environ), os.environ, announce))
    if not clean:
        raise typer.Exit(FAILURE)


def _announce(url: str, storage: str) -> None:
    _say(f"Moorage is ready at {url} (storage: {storage})")


def _announce_json(url: str, storage: str) -> None:
    # One line, as the access log has lines.
    _say(json.dumps({"ready": True, "url": url, "storage": storage}))


def _say(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")  # in one piece: the gateway's access log goes there too
        sys.stdout.flush()
    except OSError:
        # Nobody reads our output any more; that stops no registry.
        log.info(line)
