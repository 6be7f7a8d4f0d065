"""Where the configuration comes from: a file, the environment, or the embedded default."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import ConfigurationError, data_dir, embedded_default, load, parse

FILE = "version: 0.1\nstorage: inmemory\nhttp: {addr: 'localhost:7777'}\n"


def test_a_file_is_read_and_the_environment_overrides_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(FILE)
    assert load(path, {}).http.addr == "localhost:7777"
    assert load(path, {"REGISTRY_HTTP_ADDR": "localhost:8888"}).http.addr == "localhost:8888"


def test_without_a_path_the_environment_may_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(FILE)
    read = load(None, {"REGISTRY_CONFIGURATION_PATH": str(path)})
    assert (read.http.addr, read.warnings) == ("localhost:7777", ())


def test_a_path_goes_before_the_environment_s_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(FILE)
    assert load(path, {"REGISTRY_CONFIGURATION_PATH": "/nowhere"}).http.addr == "localhost:7777"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "config.yml", {})
    assert str(caught.value) == f"{tmp_path}/config.yml: cannot be read: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(b"version: 0.1\nhttp: {secret: \xff}\n")
    with pytest.raises(ConfigurationError, match="cannot be read: not UTF-8"):
        load(path, {})


def test_the_embedded_default_serves_this_host_from_the_user_s_data_folder() -> None:
    read = load(None, {"HOME": "/home/user"})
    assert read.storage.driver_name == "filesystem"
    assert read.storage.driver_parameters["rootdirectory"] == "/home/user/.local/share/moorage/registry"
    assert read.storage.delete.enabled
    assert read.storage.cache.blobdescriptor == "inmemory"
    assert read.http.addr == "127.0.0.1:5000"
    assert read.validation.manifests.urls.permits("https://mirror.example/layer")
    assert not read.validation.manifests.urls.permits("http://mirror.example/layer")
    assert read.health.storagedriver.enabled
    assert read.log.level == "info"
    assert read.warnings == ()


def test_overrides_apply_to_the_embedded_default() -> None:
    read = load(
        None,
        {
            "HOME": "/home/user",
            "REGISTRY_HTTP_ADDR": "127.0.0.1:5555",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/some/dir",
        },
    )
    assert read.http.addr == "127.0.0.1:5555"
    assert read.storage.driver_parameters["rootdirectory"] == "/some/dir"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/user"}, "/home/user/.local/share/moorage"),
        ({"HOME": "/home/user", "XDG_DATA_HOME": "/data"}, "/data/moorage"),
        ({"HOME": "/home/user", "XDG_DATA_HOME": "relative"}, "/home/user/.local/share/moorage"),
        ({"HOME": "/home/user", "MOORAGE_DATA_DIR": "/srv/moorage"}, "/srv/moorage"),
    ],
)
def test_the_data_folder_is_the_user_s(environ: dict[str, str], folder: str) -> None:
    assert data_dir(environ) == Path(folder)


def test_without_a_home_the_system_s_record_of_it_is_used() -> None:
    assert data_dir({}) == Path.home() / ".local/share/moorage"


@given(st.text(alphabet=st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1))
def test_any_data_folder_s_name_can_stand_in_the_default(name: str) -> None:
    folder = Path("/home") / name
    read = parse(embedded_default(folder), {})
    assert read.storage.driver_parameters["rootdirectory"] == str(folder / "registry")
