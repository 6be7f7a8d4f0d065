from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.config import data_dir
from moorage.supervisor.errors import DataFolderInUseError
from moorage.supervisor.folders import locked, shared_secret


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


def test_the_runtime_folder_is_private_and_goes_at_the_end(tmp_path: Path, runtime_parent: Path) -> None:
    with locked(tmp_path / "data") as runtime:
        assert runtime.parent == runtime_parent
        assert runtime.stat().st_mode & 0o777 == 0o700
        (runtime / "blob.sock").touch()
    assert list(runtime_parent.iterdir()) == []
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_two_supervisors_do_not_share_a_data_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(DataFolderInUseError, match="in use by another"), locked(tmp_path):
        pytest.fail("locked twice")
    with locked(tmp_path):
        pass


def test_what_a_killed_supervisor_left_behind_is_removed(tmp_path: Path, runtime_parent: Path) -> None:
    script = (
        "import os, pathlib, signal\n"
        "import moorage.supervisor.folders as folders\n"
        "folders._RUNTIME_PATH_MAX = 200\n"
        f"with folders.locked(pathlib.Path({str(tmp_path / 'data')!r})):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    assert len(list(runtime_parent.iterdir())) == 1
    with locked(tmp_path / "data") as runtime:
        assert list(runtime_parent.iterdir()) == [runtime]


@pytest.mark.parametrize("named", ["precious", "moorage-link"])
def test_nothing_but_a_runtime_folder_is_removed(tmp_path: Path, named: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / "moorage-link").symlink_to(precious)
    data = tmp_path / "data"
    data.mkdir()
    (data / "lock").write_text(str(tmp_path / named))
    with locked(data):
        pass
    assert (precious / "file").exists()


def test_a_runtime_folder_whose_sockets_would_have_too_long_a_path_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.supervisor.folders._RUNTIME_PATH_MAX", 67)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 80)))
    (tmp_path / ("x" * 80)).mkdir()
    with locked(tmp_path / "data") as runtime:
        assert len(os.fsencode(runtime)) <= 67


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    secret = shared_secret(data)
    assert len(secret) == 64
    assert shared_secret(data) == secret
    assert (data / "http.secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data.iterdir()] == ["http.secret"]
