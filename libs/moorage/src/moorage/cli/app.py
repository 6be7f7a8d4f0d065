"""The command line: the verbs and what they have in common."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from moorage import build, logging
from moorage.cli import certs, config, health, serve, up
from moorage.cli.extensions import installed_verbs
from moorage.cli.failures import FAILURE, complain
from moorage.cli.options import AsJSON, print_json
from moorage.supervisor.parent_death import ParentGoneError, end_with_supervisor


def command(name: str) -> typer.Typer:
    """A command of this name, still without verbs."""
    return typer.Typer(
        name=name,
        epilog="Exit status: 0 all went well, 1 something failed, 2 wrong command line or configuration.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = command("moorage")
app.command()(serve.serve)
app.command()(up.up)
app.command()(certs.certs)
app.command()(health.health)
app.add_typer(config.app)
for _verbs in installed_verbs():
    app.add_typer(_verbs)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"moorage {build.version()}")
        raise typer.Exit


@app.callback()
def _registry(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """A container registry in four services."""


@app.command()
def version(as_json: AsJSON = False) -> None:
    """Print the version, with the revision that it was built from."""
    if as_json:
        print_json(build.facts())
    else:
        typer.echo(f"moorage {build.version()}")


def main() -> None:
    """Run the command and exit."""
    run(app, "moorage")


def run(program: typer.Typer, name: str) -> None:
    """Run a command of this name and exit."""
    # Until the configuration says how.
    logging.configure(level="info", formatter="text", fields={}, service="moorage")
    try:
        end_with_supervisor()
    except ParentGoneError as error:
        complain(str(error))
        sys.exit(FAILURE)
    program(prog_name=name)
