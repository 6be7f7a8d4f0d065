"""The rules of single sections: storage, log, http, validation and services."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from moorage.config import Configuration, ConfigurationError, is_unix, parse, unix_path

Read = Callable[[str, str], Configuration]
MINIMAL = parse("version: 0.1\nstorage: inmemory\n", {})


# storage


@pytest.mark.parametrize(
    ("storage", "name"),
    [
        ("inmemory", "inmemory"),
        ("{inmemory: }", "inmemory"),
        ("{inmemory: {}}", "inmemory"),
        ("filesystem", "filesystem"),
    ],
)
def test_a_driver_needs_no_parameters(storage: str, name: str) -> None:
    assert parse(f"version: 0.1\nstorage: {storage}\n", {}).storage.driver_name == name


def test_a_driver_s_parameters_hold_its_defaults() -> None:
    assert parse("version: 0.1\nstorage: filesystem\n", {}).storage.driver_parameters == {
        "rootdirectory": "/var/lib/registry",
        "maxthreads": 100,
        "directio": True,
    }
    assert MINIMAL.storage.driver_parameters == {}


def test_a_pool_of_ceph_needs_only_its_name() -> None:
    read = parse("version: 0.1\nstorage: {rados: {poolname: registry, chunksize: 8388608}}\n", {})
    assert read.storage.driver_name == "rados"
    assert read.storage.driver_parameters == {
        "poolname": "registry",
        "username": None,
        "chunksize": 8 << 20,
        "conffile": None,
        "namespace": "",
        "connecttimeout": 30.0,
        "timeout": 30.0,
        "maxinflight": 32,
        "writerlease": 15.0,
    }


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        ("{rados: }", "storage.rados.poolname: is required"),
        ("{rados: {poolname: ''}}", "storage.rados.poolname: must not be empty"),
        (
            "{rados: {poolname: a, chunksize: 1KiB}}",
            "storage.rados.chunksize: must be between 64 KiB and 64 MiB: 1024",
        ),
        ("{rados: {poolname: a, timeout: 10ms}}", "storage.rados.timeout: must be at least a second: 0.01s"),
        ("{rados: {poolname: a, maxinflight: 0}}", "storage.rados.maxinflight: must be at least 1: 0"),
        (
            "{rados: {poolname: a, poolnam: b}}",
            "storage.rados.poolnam: unknown key, did you mean 'poolname'?",
        ),
        ("", "storage: is required"),
        ("{delete: {enabled: true}}", "storage: no storage driver: name exactly one, such as filesystem"),
        (
            "{inmemory: , delete: , filesystem: }",
            "storage: multiple storage drivers: inmemory, filesystem; name exactly one",
        ),
        ("{filesytem: {}}", "storage.filesytem: unknown key, did you mean 'filesystem'?"),
        ("tape", "storage.tape: unknown key"),
        ("[inmemory]", "storage: must be a map, not a list"),
        ("{inmemory: word}", "storage.inmemory: must be a map, not 'word'"),
        ("{inmemory: {size: 1}}", "storage.inmemory.size: unknown key"),
    ],
)
def test_a_storage_section_names_exactly_one_driver(storage: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"version: 0.1\nstorage: {storage}\n", {})
    assert str(caught.value) == sentence


def test_sections_beside_the_driver_are_not_drivers() -> None:
    text = "version: 0.1\nstorage: {filesystem: , delete: , maintenance: , cache: , redirect: , tag: }\n"
    assert parse(text, {}).storage.driver_name == "filesystem"


def test_few_threads_are_raised_to_the_least_with_a_warning(configured: Read) -> None:
    read = configured("storage.filesystem.maxthreads", "3")
    assert read.storage.driver_parameters["maxthreads"] == 25
    assert read.warnings == ("storage.filesystem.maxthreads: 3 is less than the least, 25, which is used",)


def test_upload_purging_is_on_by_default_for_a_week() -> None:
    purging = MINIMAL.storage.maintenance.uploadpurging
    assert (purging.enabled, purging.age, purging.interval, purging.dryrun) == (
        True,
        604800.0,
        86400.0,
        False,
    )


def test_upload_purging_is_configured_whole(configured: Read) -> None:
    purging = configured(
        "storage.maintenance.uploadpurging", "{enabled: true, age: 1h, interval: 10m, dryrun: true}"
    ).storage.maintenance.uploadpurging
    assert (purging.enabled, purging.age, purging.interval, purging.dryrun) == (True, 3600.0, 600.0, True)


@pytest.mark.parametrize(
    ("given", "missing"),
    [("{enabled: true}", "age, interval, dryrun"), ("{age: 1h, interval: 1h, dryrun: false}", "enabled")],
)
def test_upload_purging_in_part_is_refused(configured: Read, given: str, missing: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured("storage.maintenance.uploadpurging", given)
    assert str(caught.value) == (
        f"storage.maintenance.uploadpurging: all of its keys must be given, and these are missing: {missing}"
    )


def test_upload_purging_is_switched_off_with_one_key(configured: Read) -> None:
    read = configured("storage.maintenance.uploadpurging", "{enabled: false}")
    assert not read.storage.maintenance.uploadpurging.enabled


def test_an_unknown_cache_is_none_with_a_warning(configured: Read) -> None:
    read = configured("storage.cache.blobdescriptor", "memcached")
    assert read.storage.cache.blobdescriptor is None
    assert read.warnings == (
        "storage.cache.blobdescriptor: unknown cache 'memcached': no descriptor cache is used",
    )


def test_the_cache_s_old_name_works_with_a_warning_and_the_new_one_wins(configured: Read) -> None:
    old = configured("storage.cache", "{layerinfo: inmemory}")
    assert old.storage.cache.blobdescriptor == "inmemory"
    assert old.warnings == ("storage.cache.layerinfo: deprecated; write storage.cache.blobdescriptor",)
    both = configured("storage.cache", "{layerinfo: inmemory, blobdescriptor: other}")
    assert both.storage.cache.blobdescriptor is None


# log


def test_the_old_loglevel_counts_unless_log_level_is_given() -> None:
    old = parse("version: 0.1\nstorage: inmemory\nloglevel: debug\n", {})
    assert (old.log.level, old.warnings) == ("debug", ("loglevel: deprecated; write log.level",))
    both = parse("version: 0.1\nstorage: inmemory\nloglevel: debug\nlog: {level: error}\n", {})
    assert both.log.level == "error"


# http


def test_a_unix_listener_has_a_path_for_its_address() -> None:
    read = parse("version: 0.1\nstorage: inmemory\nhttp: {addr: /run/registry.sock, net: unix}\n", {})
    assert (read.http.net, read.http.addr) == ("unix", "/run/registry.sock")


@pytest.mark.parametrize("path", ["''", "/" + "a" * 107])
def test_a_unix_listener_s_path_must_fit(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^http\.addr: .*unix socket"):
        parse(f"version: 0.1\nstorage: inmemory\nhttp: {{net: unix, addr: {path}}}\n", {})


def test_a_header_s_value_may_be_one_text(configured: Read) -> None:
    headers = configured("http.headers", "{X-Content-Type-Options: nosniff, Age: 3}").http.headers
    assert headers == {"X-Content-Type-Options": ("nosniff",), "Age": ("3",)}


def test_shut_down_waits_for_30_seconds_by_default() -> None:
    assert MINIMAL.http.draintimeout == 30.0


def test_a_bare_number_of_nanoseconds_that_looks_like_seconds_is_warned_of(configured: Read) -> None:
    read = configured("http", "{draintimeout: 60, debug: {}}")
    assert read.http.draintimeout == 60e-9
    assert read.warnings == ("http.draintimeout: 60 is nanoseconds; write '60s' for seconds",)
    assert configured("http.draintimeout", "60000000000").warnings == ()


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (None, True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_only_this_host_is_a_trusted_proxy_by_default(peer: str | None, trusted: bool) -> None:
    assert MINIMAL.http.trusts(peer) is trusted


def test_trusted_proxies_are_the_ones_that_are_listed(configured: Read) -> None:
    http = configured("http.trustedproxies", "[10.0.0.0/8, 'fd00::/8', 192.0.2.7]").http
    assert [http.trusts(peer) for peer in ("10.1.2.3", "fd00::1", "192.0.2.7")] == [True, True, True]
    assert [http.trusts(peer) for peer in ("192.0.2.8", "127.0.0.1", "::1")] == [False, False, False]
    assert http.trusts(None)
    assert not configured("http.trustedproxies", "[]").http.trusts("127.0.0.1")


# validation


@pytest.mark.parametrize(
    ("section", "active"),
    [
        ("{}", True),
        ("{disabled: true}", False),
        ("{disabled: false}", True),
        ("{enabled: false}", True),
        ("{enabled: true, disabled: true}", True),
    ],
)
def test_validation_is_on_unless_it_is_disabled(configured: Read, section: str, active: bool) -> None:
    assert configured("validation", section).validation.active is active


def test_the_old_switch_of_validation_is_warned_of(configured: Read) -> None:
    assert configured("validation.enabled", "true").warnings == (
        "validation.enabled: deprecated; validation is on unless validation.disabled is true",
    )


@pytest.mark.parametrize(
    ("urls", "permitted", "refused"),
    [
        ("{}", [], ["https://a.example/x", ""]),
        ("{allow: ['^https://']}", ["https://a.example/x"], ["http://a.example/x"]),
        (
            "{allow: ['^https?://([^/]+\\.)*example\\.com/'], deny: ['^https?://www\\.example\\.com/']}",
            ["http://a.example.com/x", "https://example.com/"],
            ["https://www.example.com/x", "https://example.org/"],
        ),
        ("{deny: [evil]}", ["https://good.example/"], ["https://evil.example/"]),
        ("{allow: [one, two]}", ["https://two.example/"], ["https://three.example/"]),
    ],
)
def test_a_url_in_a_manifest_must_be_allowed_and_not_denied(
    configured: Read, urls: str, permitted: list[str], refused: list[str]
) -> None:
    rule = configured("validation.manifests.urls", urls).validation.manifests.urls
    assert [url for url in permitted + refused if rule.permits(url)] == permitted


# services


def test_services_meet_at_unix_sockets_by_default() -> None:
    services = MINIMAL.services
    assert services.blob.addr == ("unix:///run/moorage/blob.sock",)
    assert services.metadata.addr == "unix:///run/moorage/metadata.sock"
    assert services.notifier.addr == "unix:///run/moorage/notifier.sock"
    assert services.nats.url == "nats://127.0.0.1:4222"
    assert (services.timeout, services.blobtimeout, services.grace) == (30.0, 300.0, 2.5)


def test_a_unix_address_gives_its_path() -> None:
    assert is_unix("unix:///run/a.sock")
    assert not is_unix("localhost:1")
    assert unix_path("unix:///run/a.sock") == "/run/a.sock"
    with pytest.raises(ValueError, match="not a unix socket's address"):
        unix_path("localhost:1")


@pytest.mark.parametrize("address", ["10.0.0.5:4000", "blob.internal:4000", "0.0.0.0:4000", "'[::]:4000'"])
def test_services_on_other_hosts_are_refused_until_the_operator_insists(
    configured: Read, address: str
) -> None:
    bare = yaml.safe_load(address)
    with pytest.raises(ConfigurationError) as caught:
        configured("services.blob.addr", f"[localhost:4000, {address}]")
    assert str(caught.value) == (
        f"services.blob.addr[1]: {bare} is not on this host, and calls between services are neither "
        "encrypted nor authenticated; set services.tls, use unix sockets, or set 'services.insecure: true' "
        "on a private network"
    )
    insisted = configured("services", f"{{insecure: true, notifier: {{addr: {address}}}}}")
    assert insisted.services.notifier.addr == bare
