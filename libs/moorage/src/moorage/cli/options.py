"""What several verbs take, and what they do with it first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import structlog
import typer

from moorage import logging
from moorage.config import Configuration, parse_duration
from moorage.loghooks import configured_hooks

log = structlog.get_logger("moorage")

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="REGISTRY_CONFIGURATION_PATH",
        help="config.yml of distribution's format. Without one: the embedded default.",
    ),
]

# The same as distribution's verbs take it.
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG",
        envvar="REGISTRY_CONFIGURATION_PATH",
        help="config.yml of distribution's format. Without one: the embedded default.",
        show_default=False,
    ),
]

AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def print_json(value: object) -> None:
    """Print one JSON value."""
    typer.echo(json.dumps(value, indent=2, default=str))


def duration(text: str) -> float:
    """An option's duration in seconds, 0 or more; for `parser` of typer.Option."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if seconds < 0:
        raise typer.BadParameter(f"must not be negative: {text!r}")
    return seconds


def set_up_logging(config: Configuration, service: str) -> None:
    """Log from now on as the configuration says."""
    logging.configure(
        level=config.log.level,
        formatter=config.log.formatter,
        fields=config.log.fields,
        service=service,
        report_caller=config.log.reportcaller,
        hooks=configured_hooks(config.log.hooks),
    )


def log_warnings(config: Configuration) -> None:
    """Log what the operator should know about the configuration."""
    for warning in config.warnings:
        log.warning("configuration", warning=warning)
