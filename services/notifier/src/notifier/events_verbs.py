"""The verbs `moorage events`."""

import typer

app = typer.Typer(name="events")


@app.callback()
def _e() -> None:
    """Look at registry events and their endpoints."""
