"""The command `moorage` in processes of their own that are forked from one that has imported everything.

Python takes longer to start the command than most commands take to do their work.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["pytest", "moorage.cli.app", "notifier.endpoints", "notifier.replays", "notifier.main"]
)


class Command:
    """One `moorage` that runs, with its output in files."""

    def __init__(self, arguments: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="moorage-test-")
        self._out, self._err = (Path(self._folder.name) / name for name in ("out", "err"))
        self._out.touch()
        self._err.touch()
        names = (str(self._out), str(self._err))
        self._process: BaseProcess = _forks.Process(
            target=_run, args=([str(each) for each in arguments], dict(env), *names), daemon=True
        )
        self._process.start()

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """What it has complained of so far."""
        return self._err.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 60) -> int:
        """Its status; it is killed when it takes longer."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            self._process.kill()
            self._process.join()
            raise AssertionError(f"it does not end in {timeout:g} s:\n{self.out}{self.err}")
        return status

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._folder.cleanup()


def _run(arguments: list[str], env: dict[str, str], out: str, err: str) -> None:
    """What the forked process does."""
    os.environ.clear()
    os.environ.update(env)
    for name, number in ((out, 1), (err, 2)):
        descriptor = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv[:] = ["moorage", *arguments]
    from moorage.cli import main

    main()
