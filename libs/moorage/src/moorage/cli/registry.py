"""`registry`: distribution's own command, for the scripts and units that call it.

`registry serve config.yml` is `moorage up -c config.yml`: one process to start and to stop, as before. Verbs
of distribution that a service brings (`garbage-collect`) stand in the entry point group
`moorage.registry_verbs`: each names a function for a typer command.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated

import typer

from moorage import build
from moorage.cli import up
from moorage.cli.app import command, run
from moorage.cli.options import ConfigArgument

ENTRY_POINT_GROUP = "moorage.registry_verbs"

app = command("registry")
for _point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
    app.command(name=_point.name)(_point.load())


def _show_version(wanted: bool) -> None:
    if wanted:
        # distribution's three words: the command, the package, the version.
        typer.echo(f"registry moorage {build.version()}")
        raise typer.Exit


@app.callback()
def _registry(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", "-v", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Moorage under the name of distribution's command; everything else is in `moorage`."""


@app.command()
def serve(config_path: ConfigArgument = None) -> None:
    """Run everything on this machine, as `moorage up -c CONFIG` does."""
    up.up(config_path)


def registry() -> None:
    """Run the command and exit."""
    run(app, "registry")
