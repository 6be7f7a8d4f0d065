"""One Ceph for all the tests of a run, whichever of pytest's processes they run in.

The first process that asks starts a keeper, a process of its own that has the cluster. Each process that uses
the cluster holds a connection to the keeper; when the last one ends, however it ended, the keeper stops the
cluster, removes what it left and ends too. Nobody but the keeper has to tidy up, so `kill -9` leaves nothing.

Tests keep apart by names: a RADOS namespace each, a bucket each. Nobody stops the OSD of the shared cluster.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from support.ceph import Ceph, CephAccess, S3Access

# A keeper whom nobody has asked for anything by then ends.
_LONELY_SECONDS = 60
_ANSWER_SECONDS = 180


class SharedCeph:
    """The run's cluster, as one process uses it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rw")
        self.access = CephAccess(**self._ask("cluster"))

    def gateway(self) -> S3Access:
        """The cluster's RADOS Gateway; starts it when nobody has asked for it before."""
        return S3Access(**self._ask("gateway"))

    def _ask(self, what: str) -> dict[str, str]:
        self._lines.write(f"{what}\n")
        self._lines.flush()
        line = self._lines.readline()
        if not line:
            raise ConnectionError("the keeper of the shared Ceph has ended")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


@contextmanager
def shared_ceph() -> Iterator[SharedCeph]:
    """Use the run's cluster, and start it if it is not there (about seven seconds)."""
    place = _Place.of_this_run()
    with place.locked():
        ceph = _connect(place) or _start(place)
    try:
        yield ceph
    finally:
        ceph.close()


@dataclass(frozen=True)
class _Place:
    """Where the processes of one run find the keeper."""

    folder: Path

    @staticmethod
    def of_this_run() -> _Place:
        # pytest-xdist's name of the run, the same in each of its workers.
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"process-{os.getpid()}"
        return _Place(Path(tempfile.gettempdir()) / f"moorage-keeper-{run}")

    @property
    def socket(self) -> str:
        return str(self.folder / "socket")

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.folder.mkdir(exist_ok=True)
        lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def remove(self) -> None:
        Path(self.socket).unlink(missing_ok=True)
        if self.folder.exists():
            self.folder.rmdir()


def _connect(place: _Place) -> SharedCeph | None:
    """Join a keeper that is there."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.connect(place.socket)
        return SharedCeph(connection)
    except OSError:
        # Nobody is there, or the keeper was about to end.
        connection.close()
        return None


def _start(place: _Place) -> SharedCeph:
    Path(place.socket).unlink(missing_ok=True)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "support.shared_ceph", str(place.folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert keeper.stdout is not None
    with keeper.stdout:
        ready = keeper.stdout.readline()
    assert ready == b"ready\n", "the keeper of the shared Ceph did not start: see its words on standard error"
    # It outlives this process when others use it: it is nobody's child to wait for.
    keeper.returncode = 0
    joined = _connect(place)
    assert joined is not None, "the keeper of the shared Ceph ended at once"
    return joined


def keep(place: _Place) -> None:
    """The keeper: start a cluster, serve it until the last user has gone, and stop it."""
    with socket.socket(socket.AF_UNIX) as listener, Ceph() as ceph:
        listener.bind(place.socket)
        listener.listen()
        print("ready", flush=True)
        _serve(listener, ceph)
        # Whoever comes now finds nobody, and starts another.
        place.remove()


def _serve(listener: socket.socket, ceph: Ceph) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        users = 0
        while ready := selector.select(None if users else _LONELY_SECONDS):
            for key, _ in ready:
                if key.fileobj is listener:
                    user, _ = listener.accept()
                    selector.register(user, selectors.EVENT_READ)
                    users += 1
                elif not _answer(key.fileobj, ceph):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    users -= 1
            if not users:
                return


def _answer(user: socket.socket, ceph: Ceph) -> bool:
    """Answer one question; False when the user has gone."""
    try:
        question = user.recv(64)
        if not question:
            return False
        try:
            answer = asdict(ceph.start_gateway() if question == b"gateway\n" else ceph.access)
        except AssertionError as failure:
            answer = {"error": str(failure)}
        user.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    # Asked to end, it tidies up as ever.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keep(_Place(Path(sys.argv[1])))
