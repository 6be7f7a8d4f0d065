"""placeholder"""

import typer

app = typer.Typer(name="events")


@app.callback()
def _e() -> None:
    """X"""
