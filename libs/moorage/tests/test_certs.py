"""`moorage certs`."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from moorage.config import parse

NAMES = ("gateway", "blob", "metadata", "notifier", "operator", "listener")


def certs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moorage", "certs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("certs") / "tls"
    result = certs(folder, "--host", "registry.example", "--host", "192.0.2.7", "--days", "30")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def names_of(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in found]


def test_each_service_and_the_listener_get_a_certificate_of_one_authority(made) -> None:
    folder, _ = made
    for name in NAMES:
        subprocess.run(
            ["openssl", "verify", "-CAfile", folder / "ca.crt", folder / f"{name}.crt"],
            check=True,
            capture_output=True,
        )
    assert names_of(folder / "blob.crt") == ["blob.moorage"]
    assert names_of(folder / "listener.crt") == ["registry.example", "192.0.2.7"]


def test_files_are_their_owner_s_alone(made) -> None:
    folder, _ = made
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_what_it_prints_is_a_configuration(made) -> None:
    folder, said = made
    section = said.partition("For config.yml:\n")[2].partition("\nGive each")[0]
    config = parse(yaml.safe_dump({"version": 0.1, "storage": "inmemory", **yaml.safe_load(section)}), {})
    assert config.http.tls.certificate == f"{folder}/listener.crt"
    assert config.services.tls.of_service("blob") == (f"{folder}/blob.crt", f"{folder}/blob.key")


def test_programs_are_told_in_json(tmp_path: Path) -> None:
    result = certs(tmp_path / "tls", "--json")
    assert result.returncode == 0, result.stderr
    listed = {each["name"]: each for each in json.loads(result.stdout)}
    assert set(listed) == set(NAMES)
    assert listed["listener"]["hosts"] == ["localhost", "127.0.0.1"]
    for each in listed.values():
        assert each["made"] is True
        assert Path(each["certificate"]).is_file()
        assert Path(each["key"]).is_file()


def test_nothing_is_overwritten(made) -> None:
    folder, _ = made
    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = certs(folder)
    assert again.returncode == 1
    assert "already" in again.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_one_that_was_removed_is_issued_anew_by_the_same_authority(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    assert certs(folder).returncode == 0
    authority, kept = (folder / "ca.crt").read_bytes(), (folder / "gateway.crt").read_bytes()
    (folder / "blob.crt").unlink()
    half = certs(folder)
    assert (half.returncode, half.stderr.count("\n")) == (1, 1)
    assert "blob.crt or .key is there without the other" in half.stderr
    (folder / "blob.key").unlink()
    assert certs(folder).returncode == 0
    assert (folder / "ca.crt").read_bytes() == authority
    assert (folder / "gateway.crt").read_bytes() == kept
    subprocess.run(
        ["openssl", "verify", "-CAfile", folder / "ca.crt", folder / "blob.crt"],
        check=True,
        capture_output=True,
    )
