"""Commands that installed services bring: operators' verbs for what only that service knows.

Each is a `typer.Typer` in the entry point group `moorage.commands`, so the command line has it and the shared
library imports no service. The name of the entry point is the verb.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

ENTRY_POINT_GROUP = "moorage.commands"


def add_installed(app: typer.Typer) -> None:
    """Add every installed command."""
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        command = point.load()
        if not isinstance(command, typer.Typer):
            raise TypeError(f"{point.value} is not a typer.Typer")
        app.add_typer(command, name=point.name)
