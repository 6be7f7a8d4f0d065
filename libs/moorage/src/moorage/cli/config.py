"""`moorage config`: about the configuration, without starting anything."""

from __future__ import annotations

import os

import typer

from moorage.cli.failures import FAILURE, complain, failures
from moorage.cli.options import ConfigPath
from moorage.config import load

app = typer.Typer(name="config", help="Look at the configuration.", no_args_is_help=True)


@app.callback()
def _config() -> None:
    """Look at the configuration."""


@app.command()
def check(config_path: ConfigPath = None) -> None:
    """Say whether the configuration holds: status 0, or 1 and a line for each error."""
    with failures(wrong_configuration=FAILURE):
        config = load(config_path, os.environ)
    for warning in config.warnings:
        complain(f"warning: {warning}")
    typer.echo("configuration ok")
