"""The verbs that installed services add to the `moorage` command.

A service names a typer application in the entry point group `moorage.verbs`. It is imported whenever the
command runs, whatever the verb, so its module imports what the work needs only when it is called.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

ENTRY_POINT_GROUP = "moorage.verbs"


def installed_verbs() -> list[typer.Typer]:
    """The applications of the services that are installed here, in the order of their names."""
    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return [point.load() for point in points]
