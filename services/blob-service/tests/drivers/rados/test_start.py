"""What a configuration that does not work here is refused with, before the service listens."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from blob_service.drivers import factory
from moorage.config.errors import ConfigurationError
from support.processes import free_port


def refusal(parameters: dict[str, Any], **others: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        factory.create("rados", {**parameters, **others})
    return str(caught.value)


def test_a_pool_that_is_not_there_is_named(parameters: dict[str, Any]) -> None:
    assert refusal(parameters, poolname="elsewhere") == (
        "storage.rados.poolname: the cluster has no pool 'elsewhere'"
    )


def test_a_configuration_file_that_is_not_there_is_named(parameters: dict[str, Any]) -> None:
    assert refusal(parameters, conffile="/no/such/ceph.conf") == (
        "storage.rados.conffile: cannot read /no/such/ceph.conf"
    )


def test_a_user_without_a_key_is_named(parameters: dict[str, Any]) -> None:
    assert refusal(parameters, username="nobody") == (
        "storage.rados.username: no key of client.nobody is in the keyring that the conffile names"
    )


def test_a_user_with_a_wrong_key_is_refused_and_the_key_is_not_shown(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    key = "AQBAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="
    conffile = tmp_path / "ceph.conf"
    keyring = tmp_path / "keyring"
    keyring.write_text(f"[client.registry]\n\tkey = {key}\n")
    lines = Path(parameters["conffile"]).read_text().splitlines()
    conffile.write_text(
        "\n".join(f"keyring = {keyring}" if line.startswith("keyring") else line for line in lines) + "\n"
    )
    sentence = refusal(parameters, conffile=str(conffile))
    assert sentence == "storage.rados.username: the cluster does not admit client.registry"
    assert key not in sentence


def test_a_cluster_that_does_not_answer_is_given_up_in_time(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    conffile = tmp_path / "ceph.conf"
    conffile.write_text(f"[global]\nmon host = 127.0.0.1:{free_port()}\nauth client required = none\n")
    assert refusal(parameters, conffile=str(conffile), connecttimeout=1.0) == (
        "storage.rados: no monitor of the cluster answers in 1 s"
    )


def test_without_librados_the_refusal_says_what_to_install(
    parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without_rados(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "rados":
            raise ModuleNotFoundError("No module named 'rados'")
        return original(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "rados")
    monkeypatch.setattr(builtins, "__import__", without_rados)
    assert "install Debian's package python3-rados" in refusal(parameters)
