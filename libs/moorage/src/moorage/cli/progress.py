"""How far long work has come, on standard error, while that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[str], None]
"""One more is done; the text says what is looked at now, "" for no change."""


def _no_step(_at: str) -> None:
    """Nobody watches."""


@contextmanager
def progress(work: str, *, wanted: bool = True) -> Iterator[Step]:
    """A bar with what is done and how long it has taken, while the context is open; it is gone then.

    Nothing is shown where standard error is no terminal, so scripts and logs have lines only.
    """
    if not (wanted and sys.stderr.isatty()):
        yield _no_step
        return
    # Only here: a command that nobody watches does not pay for it.
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}"),
        console=Console(stderr=True),
        transient=True,
        # What is printed to the same terminal goes above the bar; what goes to a file or a pipe goes there.
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
    task = bar.add_task(escape(work), total=None, at="")

    def step(at: str) -> None:
        if at:
            bar.update(task, advance=1, at=escape(at))
        else:
            bar.advance(task)

    with bar:
        yield step
