"""`moorage config`: about the configuration, without starting anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
import yaml

from moorage.cli.failures import FAILURE, complain, failures
from moorage.cli.options import AsJSON, ConfigPath, print_json
from moorage.config import Configuration, ConfigurationError, load
from moorage.config.effective import effective
from moorage.loghooks import configured_hooks

app = typer.Typer(name="config", help="Look at the configuration.", no_args_is_help=True)


@app.callback()
def _config() -> None:
    """Look at the configuration."""


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The same as -c FILE.", show_default=False)
    ] = None,
    config_path: ConfigPath = None,
    as_json: AsJSON = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print the configuration.")] = False,
) -> None:
    """Say whether the configuration holds, and print what it comes to, without secrets.

    Status 0 and `configuration ok` in the last line, or 1 and a line for each error.
    """
    with failures(wrong_configuration=FAILURE):
        try:
            config = _checked(file or config_path)
        except ConfigurationError as error:
            if not as_json:
                raise
            problems = [{"key": problem.key, "message": problem.message} for problem in error.problems]
            print_json({"ok": False, "problems": problems})
            raise typer.Exit(FAILURE) from error
    if as_json:
        print_json({"ok": True, "warnings": list(config.warnings), "configuration": effective(config)})
        return
    for warning in config.warnings:
        complain(f"warning: {warning}")
    if not quiet:
        typer.echo(yaml.safe_dump(effective(config), sort_keys=False, allow_unicode=True), nl=False)
    typer.echo("configuration ok")


def _checked(path: Path | None) -> Configuration:
    config = load(path, os.environ)
    # Files that only the log needs.
    configured_hooks(config.log.hooks)
    return config


@app.command()
def schema() -> None:
    """Print a JSON Schema of the configuration, for editors and for whatever else checks YAML."""
    # It is made from all models, which takes its time.
    from moorage.config.jsonschema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
