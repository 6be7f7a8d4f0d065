"""The folders of `moorage up`: the data that stay, and the sockets that go when it ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from moorage.supervisor.errors import DataFolderInUseError

# Seconds to wait for the data folder.
LOCK_WAIT = 3.0

_LOCK = "lock"
_SECRET = "http.secret"  # noqa: S105  a file's name
_RUNTIME_PREFIX = "moorage-"

# A unix socket's path has room for 107 bytes; this leaves 40 for a socket's own name.
_RUNTIME_PATH_MAX = 67


@dataclass(frozen=True, slots=True)
class Folders:
    """What a supervisor holds: `runtime` for sockets, and `lock`, a descriptor that keeps others off `data`.

    A child that writes below `data` is given the lock too, so that it is held until both have ended.
    """

    data: Path
    runtime: Path
    lock: int


@asynccontextmanager
async def held(data: Path) -> AsyncIterator[Folders]:
    """Hold the data folder, which is made when it is not there, and a private runtime folder (mode 0700).

    The runtime folder is removed at the end; one that a killed supervisor left behind is removed now. Raises
    DataFolderInUseError, or OSError.
    """
    with _open_lock(data) as lock:
        await _take(lock, data)
        _remove_left_over(Path(lock.read().strip()))
        runtime = make_runtime_folder(os.environ)
        try:
            _note(lock, str(runtime))
            yield Folders(data, runtime, lock.fileno())
        finally:
            shutil.rmtree(runtime)
            _note(lock, "")


def _open_lock(data: Path) -> TextIO:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open(data / _LOCK, "r+", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


async def _take(lock: TextIO, data: Path) -> None:
    """Lock the file; the children of a supervisor that was killed may still be ending."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if loop.time() > deadline:
                raise DataFolderInUseError(f"{data} is in use by another 'moorage up'") from error
            await asyncio.sleep(0.1)
        else:
            return


def _note(lock: TextIO, text: str) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(text)
    lock.flush()


def shared_secret(data: Path) -> str:
    """The `http.secret` of this data folder, made on first use, so that uploads survive a restart."""
    path = data / _SECRET
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    secret = secrets.token_hex(32)
    # Whole or not at all: a crash leaves no empty secret behind.
    descriptor, name = tempfile.mkstemp(dir=data, prefix=f".{_SECRET}.")  # mode 0600
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, path)
    return secret


def runtime_folder(data: Path) -> Path | None:
    """The folder of the sockets of the `moorage up` that holds this data folder; None when none does."""
    try:
        with open(data / _LOCK, encoding="utf-8") as lock:
            noted = lock.read().strip()
    except FileNotFoundError:
        return None
    return Path(noted) if noted else None


def make_runtime_folder(environ: Mapping[str, str]) -> Path:
    """A new folder for sockets, mode 0700; raises OSError when there is no place for one."""
    for parent in (environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108  mkdtemp
        if not parent.startswith("/") or not os.access(parent, os.W_OK | os.X_OK):
            continue
        if len(os.fsencode(parent)) + len(f"/{_RUNTIME_PREFIX}12345678") <= _RUNTIME_PATH_MAX:
            return Path(tempfile.mkdtemp(prefix=_RUNTIME_PREFIX, dir=parent))
    raise OSError("no folder for sockets: neither XDG_RUNTIME_DIR nor TMPDIR nor /tmp can be used")


def _remove_left_over(folder: Path) -> None:
    """Remove the runtime folder of a supervisor that was killed: only one of that name, and only our own."""
    if not folder.name.startswith(_RUNTIME_PREFIX):
        return
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        shutil.rmtree(folder)
