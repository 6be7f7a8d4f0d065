from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from moorage.config import data_dir
from moorage.supervisor.errors import DataFolderInUseError
from moorage.supervisor.folders import held, shared_secret


@pytest.fixture(autouse=True)
def runtime_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    parent = tmp_path / "run"
    parent.mkdir()
    monkeypatch.setattr("moorage.supervisor.folders._RUNTIME_PATH_MAX", 200)  # pytest's folders are long
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(parent))
    return parent


def test_data_stand_where_the_environment_says() -> None:
    assert data_dir({"MOORAGE_DATA_DIR": "/srv/a", "XDG_DATA_HOME": "/b", "HOME": "/h"}) == Path("/srv/a")
    assert data_dir({"MOORAGE_DATA_DIR": "a"}) == Path.cwd() / "a"
    assert data_dir({"XDG_DATA_HOME": "/b", "HOME": "/h"}) == Path("/b/moorage")
    assert data_dir({"XDG_DATA_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/share/moorage")


async def test_the_runtime_folder_is_private_and_goes_at_the_end(
    tmp_path: Path, runtime_parent: Path
) -> None:
    async with held(tmp_path / "data") as folders:
        assert folders.runtime.parent == runtime_parent
        assert folders.runtime.stat().st_mode & 0o777 == 0o700
        (folders.runtime / "blob.sock").touch()
    assert list(runtime_parent.iterdir()) == []
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


async def test_two_supervisors_do_not_share_a_data_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("moorage.supervisor.folders.LOCK_WAIT", 0.2)
    async with held(tmp_path):
        with pytest.raises(DataFolderInUseError, match="in use by another"):
            async with held(tmp_path):
                pytest.fail("held twice")
    async with held(tmp_path):
        pass


async def test_a_child_that_writes_there_holds_the_data_folder_too(tmp_path: Path) -> None:
    async with held(tmp_path) as folders:
        child = subprocess.Popen(["/bin/sleep", "0.5"], pass_fds=[folders.lock])
    # The supervisor is gone, its child not yet.
    async with held(tmp_path):
        assert child.wait(timeout=0.1) == 0


async def test_what_a_killed_supervisor_left_behind_is_removed(tmp_path: Path, runtime_parent: Path) -> None:
    script = f"""
    import asyncio, os, pathlib, signal
    import moorage.supervisor.folders as folders

    folders._RUNTIME_PATH_MAX = 200

    async def main():
        async with folders.held(pathlib.Path({str(tmp_path / "data")!r})):
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=30)
    assert len(list(runtime_parent.iterdir())) == 1
    async with held(tmp_path / "data") as folders:
        assert list(runtime_parent.iterdir()) == [folders.runtime]


@pytest.mark.parametrize("named", ["precious", "moorage-link"])
async def test_nothing_but_a_runtime_folder_is_removed(tmp_path: Path, named: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / "moorage-link").symlink_to(precious)
    data = tmp_path / "data"
    data.mkdir()
    (data / "lock").write_text(str(tmp_path / named))
    async with held(data):
        pass
    assert (precious / "file").exists()


async def test_a_runtime_folder_whose_sockets_would_have_too_long_a_path_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.supervisor.folders._RUNTIME_PATH_MAX", 67)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 80)))
    (tmp_path / ("x" * 80)).mkdir()
    async with held(tmp_path / "data") as folders:
        assert len(os.fsencode(folders.runtime)) <= 67


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    secret = shared_secret(data)
    assert len(secret) == 64
    assert shared_secret(data) == secret
    assert (data / "http.secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data.iterdir()] == ["http.secret"]
