"""How many processes a service is, and where the blob service's instances are."""

from __future__ import annotations

import os

import pytest

from moorage.config import Configuration, ConfigurationError, parse
from moorage.config.workers import instance_addresses

FILESYSTEM = "version: 0.1\nstorage: filesystem\n"


@pytest.fixture
def cores(monkeypatch):
    """Lets this process run on so many cores, as it thinks."""

    def set_cores(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(count)))

    return set_cores


def blob(text: str, storage: str = "filesystem") -> Configuration:
    return parse(f"version: 0.1\nstorage: {storage}\nservices: {{blob: {{{text}}}}}\n", {})


@pytest.mark.parametrize(("usable", "processes"), [(1, 1), (2, 2), (8, 8), (64, 8)])
def test_a_gateway_is_a_process_for_each_core_but_no_more_than_eight(cores, usable, processes) -> None:
    cores(usable)
    assert parse(FILESYSTEM, {}).http.worker_count == processes
    assert parse(f"{FILESYSTEM}http: {{workers: 0}}\n", {}).http.worker_count == processes


def test_an_operator_says_how_many_processes_a_gateway_is(cores) -> None:
    cores(64)
    assert parse(f"{FILESYSTEM}http: {{workers: 12}}\n", {}).http.worker_count == 12


@pytest.mark.parametrize(("usable", "processes"), [(1, 1), (7, 1), (8, 2), (64, 16)])
def test_a_blob_service_is_a_process_for_four_cores(cores, usable, processes) -> None:
    cores(usable)
    services = parse(FILESYSTEM, {}).services
    assert services.blob.worker_count == len(services.blob.instances) == processes


@pytest.mark.parametrize("addr", ["'localhost:4000'", "['unix:///a', 'unix:///b']"])
def test_cores_do_not_decide_where_another_machine_may_count_others(cores, addr) -> None:
    cores(64)
    config = blob(f"addr: {addr}")
    assert config.services.blob.worker_count == 1
    assert config.services.blob.instances == config.services.blob.addr


def test_a_store_in_memory_is_one_process_however_many_cores_there_are(cores) -> None:
    cores(64)
    services = parse("version: 0.1\nstorage: inmemory\n", {}).services
    assert services.blob.worker_count == 1
    assert services.blob.instances == ("unix:///run/moorage/blob.sock",)


@pytest.mark.parametrize(
    ("address", "count", "instances"),
    [
        ("unix:///x/blob.sock", 1, ("unix:///x/blob.sock",)),
        ("unix:///x/blob.sock", 2, ("unix:///x/blob.1.sock", "unix:///x/blob.2.sock")),
        ("unix:///x.y/blob", 2, ("unix:///x.y/blob.1", "unix:///x.y/blob.2")),
        ("unix:///x/.blob", 2, ("unix:///x/.blob.1", "unix:///x/.blob.2")),
        ("localhost:4000", 3, ("localhost:4000", "localhost:4001", "localhost:4002")),
        ("[::1]:4000", 2, ("[::1]:4000", "[::1]:4001")),
    ],
)
def test_each_instance_has_an_address_derived_from_the_first(address, count, instances) -> None:
    assert instance_addresses(address, count) == instances


def test_each_instance_has_a_data_port_of_its_own() -> None:
    config = blob("addr: 'localhost:4000', workers: 2, dataport: 5000").services.blob
    assert config.instances == ("localhost:4000", "localhost:4001")
    assert config.dataports == (5000, 5001)
    assert blob("addr: 'localhost:4000', workers: 2").services.blob.dataports == (0, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "addr: ['unix:///a', 'unix:///b'], workers: 2",
            "workers: must be 1, or left out, where services.blob.addr names several instances: "
            "each is a process of its own then",
        ),
        ("workers: 257", "workers: must be at most 256"),
        ("workers: -1", "workers: must not be negative: -1"),
        (
            "addr: 'localhost:65534', workers: 3",
            "workers: 3 instances from port 65534 on need ports beyond 65535",
        ),
        (
            "addr: 'localhost:1', workers: 3, dataport: 65534",
            "dataport: 3 workers need data ports beyond 65535",
        ),
        (
            "addr: 'localhost:4000', workers: 3, dataport: 4002",
            "dataport: falls on a port of services.blob.addr, which each worker has one of",
        ),
    ],
)
def test_what_cannot_be_derived_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        blob(text)
    assert [str(each) for each in caught.value.problems] == [f"services.blob.{problem}"]


def test_a_derived_path_too_long_for_a_socket_is_refused() -> None:
    path = f"/{'x' * 101}.sock"
    assert blob(f"addr: 'unix://{path}', workers: 1")
    with pytest.raises(ConfigurationError, match=r"services\.blob\.addr: with 2 workers: longer than"):
        blob(f"addr: 'unix://{path}', workers: 2")


def test_a_store_in_memory_with_several_processes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"services\.blob\.workers: .* its own store"):
        blob("workers: 2", storage="inmemory")


def test_more_gateways_than_a_machine_has_use_for_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"http\.workers: must be at most 256"):
        parse(f"{FILESYSTEM}http: {{workers: 257}}\n", {})
