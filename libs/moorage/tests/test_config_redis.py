"""`redis` and `storage.cache`: both generations of keys, and what does not go together."""

from __future__ import annotations

import os

import pytest

from moorage.config import Configuration, ConfigurationError, parse

# As distribution 2's documentation writes it.
SECOND = """
redis:
  addr: localhost:6379
  password: asecret
  db: 3
  dialtimeout: 10ms
  readtimeout: 20ms
  writetimeout: 30ms
  pool:
    maxidle: 16
    maxactive: 64
    idletimeout: 300s
  tls:
    enabled: false
"""

# As distribution 3's does.
THIRD = """
redis:
  tls:
    certificate: /path/to/cert.crt
    key: /path/to/key.pem
    clientcas:
      - /path/to/ca.pem
  addrs: [localhost:6379]
  password: asecret
  db: 3
  dialtimeout: 10ms
  readtimeout: 20ms
  writetimeout: 30ms
  maxidleconns: 16
  poolsize: 64
  connmaxidletime: 300s
"""


def document(redis: str, cache: str = "{blobdescriptor: redis}") -> Configuration:
    redis = redis if "\n" in redis else f"redis: {redis}\n"
    return parse(f"version: 0.1\nstorage: {{inmemory: , cache: {cache}}}\n{redis}", {})


def problems(redis: str, cache: str = "{blobdescriptor: redis}") -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        document(redis, cache)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [SECOND, THIRD])
def test_both_generations_say_the_same(text: str) -> None:
    read = document(text)
    redis = read.redis
    assert read.warnings == ()
    assert (redis.mode, redis.addresses) == ("single", ("localhost:6379",))
    assert redis.password is not None
    assert redis.password.get_secret_value() == "asecret"
    assert (redis.db, redis.dialtimeout, redis.readtimeout, redis.writetimeout) == (3, 0.01, 0.02, 0.03)
    assert (redis.most_idle_connections, redis.most_connections, redis.longest_idle) == (16, 64, 300.0)


def test_the_second_generation_does_not_wait_for_a_connection_and_the_third_does() -> None:
    assert document(SECOND).redis.longest_wait == 0
    assert document(THIRD).redis.longest_wait == 0.02
    assert document("{addrs: ['a:1'], pooltimeout: 2s}").redis.longest_wait == 2


def test_every_key_of_the_third_generation_is_known() -> None:
    read = document(
        "{addrs: ['a:1', 'b:2'], clientname: c, db: 0, protocol: 3, username: u, password: p, "
        "sentinelusername: su, sentinelpassword: sp, maxretries: 2, minretrybackoff: 1ms, "
        "maxretrybackoff: 9ms, dialtimeout: 1s, readtimeout: 1s, writetimeout: 1s, "
        "contexttimeoutenabled: true, poolfifo: true, poolsize: 3, pooltimeout: 1s, minidleconns: 1, "
        "maxidleconns: 2, maxactiveconns: 2, connmaxidletime: 1m, connmaxlifetime: 1h, maxredirects: 5, "
        "readonly: false, routebylatency: false, routerandomly: false, mastername: m, "
        "disableidentity: true, identitysuffix: s, unstableresp3: true, isclustermode: false, "
        "tls: {rootcas: [/ca.pem]}}"
    )
    assert read.warnings == ()
    assert (read.redis.mode, read.redis.most_connections) == ("sentinel", 2)
    assert read.redis.tls.is_on


@pytest.mark.parametrize(
    ("redis", "mode"),
    [
        ("{addr: 'a:1'}", "single"),
        ("{addrs: 'a:1'}", "single"),
        ("{addrs: ['a:1', 'b:1']}", "cluster"),
        ("{addrs: ['a:1'], isclustermode: true}", "cluster"),
        ("{addrs: ['a:1'], mastername: main}", "sentinel"),
        ("{addrs: ['a:1', 'b:1'], mastername: main}", "sentinel"),
    ],
)
def test_the_addresses_say_what_is_there(redis: str, mode: str) -> None:
    assert document(redis).redis.mode == mode


@pytest.mark.parametrize(
    ("tls", "is_on"),
    [
        ("{}", False),
        ("{enabled: true}", True),
        ("{certificate: /c, key: /k}", True),
        ("{clientcas: [/ca]}", True),
        ("{rootcas: /ca}", True),
        ("{enabled: false, rootcas: [/ca]}", False),
    ],
)
def test_tls_is_on_when_something_asks_for_it(tls: str, is_on: bool) -> None:
    assert document(f"{{addr: 'a:1', tls: {tls}}}").redis.tls.is_on == is_on


@pytest.mark.parametrize("key", ["blobdescriptor", "layerinfo"])
@pytest.mark.parametrize("redis", ["redis:\n", "{}", "{password: p}"])
def test_the_redis_cache_without_an_address_is_refused(key: str, redis: str) -> None:
    assert problems(redis, f"{{{key}: redis}}") == [
        "redis: is required, with addr or addrs, where storage.cache.blobdescriptor is redis"
    ]


@pytest.mark.parametrize(
    ("redis", "sentence"),
    [
        ("{adress: 'a:1'}", "redis.adress: unknown key, did you mean 'addrs'?"),
        ("{addr: 'a:1', pool: {maxidel: 1}}", "redis.pool.maxidel: unknown key, did you mean 'maxidle'?"),
        ("{addr: 'a:1', tls: {cert: /c}}", "redis.tls.cert: unknown key"),
        ("{addr: a}", "redis.addr: not host:port: 'a'"),
        ("{addrs: ['a:1', a]}", "redis.addrs[1]: not host:port: 'a'"),
        ("{addr: 'a:1', readtimeout: soon}", "redis.readtimeout: not a duration: 'soon'"),
        ("{addr: 'a:1', readtimeout: -1}", "redis.readtimeout: must not be negative: -1"),
        ("{addr: 'a:1', protocol: 4}", "redis.protocol: must be one of 2, 3, not '4'"),
        (
            "{addr: 'a:1', addrs: ['b:1']}",
            "redis.addr: stands for the same as redis.addrs; give one of them",
        ),
        (
            "{addr: 'a:1', poolsize: 2, pool: {maxactive: 3}}",
            "redis.pool.maxactive: stands for the same as redis.poolsize; give one of them",
        ),
        (
            "{addrs: ['a:1', 'b:1'], db: 1}",
            "redis.db: must be 0 for a cluster, which has no other database",
        ),
        (
            "{addr: 'a:1', tls: {certificate: /c}}",
            "redis.tls.key: is required: redis.tls.certificate and redis.tls.key go together",
        ),
    ],
)
def test_what_is_wrong_is_named(redis: str, sentence: str) -> None:
    assert sentence in problems(redis)


def test_a_timeout_of_zero_is_the_default_and_retries_below_zero_are_none() -> None:
    redis = document("{addr: 'a:1', dialtimeout: 0, readtimeout: 0s, maxretries: -1}").redis
    assert (redis.dialtimeout, redis.readtimeout, redis.maxretries) == (0.5, 0.5, 0)


def test_a_pool_without_a_size_has_ten_connections_for_each_processor() -> None:
    assert document("{addr: 'a:1'}").redis.most_connections == 10 * (os.cpu_count() or 1)
    assert document("{addr: 'a:1', pool: {maxidle: 3}}").redis.most_connections == 10 * (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("redis", "cache", "warning"),
    [
        (
            "{addr: 'a:1'}",
            "{blobdescriptor: inmemory}",
            "redis: not used, as storage.cache.blobdescriptor is not redis",
        ),
        ("{addrs: ['a:1']}", "{}", "redis: not used, as storage.cache.blobdescriptor is not redis"),
        (
            "{addr: 'a:1'}",
            "{blobdescriptor: redis, blobdescriptorsize: 7}",
            "storage.cache.blobdescriptorsize: not used with redis; set maxmemory in Redis itself",
        ),
        (
            "{addr: 'a:1'}",
            "{layerinfo: redis}",
            "storage.cache.layerinfo: deprecated; write storage.cache.blobdescriptor",
        ),
        (
            "{addrs: ['a:1', 'b:1'], maxidleconns: 2}",
            "{blobdescriptor: redis}",
            "redis.maxidleconns: not applied to a cluster",
        ),
    ],
)
def test_what_is_left_aside_is_a_warning(redis: str, cache: str, warning: str) -> None:
    assert document(redis, cache).warnings == (warning,)


def test_an_unknown_cache_is_a_warning_and_no_cache() -> None:
    read = document("{addr: 'a:1'}", "{blobdescriptor: memcached}")
    assert read.storage.cache.blobdescriptor is None
    assert read.warnings[0] == (
        "storage.cache.blobdescriptor: unknown cache 'memcached': no descriptor cache is used"
    )


def test_parameters_of_the_cache_do_not_reach_the_driver() -> None:
    read = document("{addr: 'a:1'}", "{blobdescriptor: redis, blobdescriptorsize: 7}")
    assert read.storage.driver_name == "inmemory"
    assert read.storage.driver_parameters == {}


def test_the_environment_overrides_it() -> None:
    read = parse(
        "version: 0.1\nstorage: {inmemory: }\nredis: {addr: 'a:1', pool: {maxidle: 1}}\n",
        {
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
            "REGISTRY_REDIS_ADDR": "b:2",
            "REGISTRY_REDIS_PASSWORD": "0123",
            "REGISTRY_REDIS_POOL_MAXACTIVE": "9",
            "REGISTRY_REDIS_TLS_ROOTCAS_0": "/ca.pem",
        },
    )
    assert (read.redis.addresses, read.redis.most_connections) == (("b:2",), 9)
    assert read.redis.password is not None
    assert read.redis.password.get_secret_value() == "0123"
    assert read.redis.tls.authorities == ("/ca.pem",)


def test_a_url_in_place_of_an_address_is_refused_without_the_password_in_it() -> None:
    assert problems("{addr: 'redis://:hush@a:1'}") == ["redis.addr: not host:port"]
    assert problems("{addrs: ['redis://a:1']}") == ["redis.addrs[0]: not host:port: 'redis://a:1'"]


def test_passwords_are_not_shown() -> None:
    read = document("{addr: 'a:1', password: hush, sentinelpassword: hush}")
    assert "hush" not in repr(read)
    told = problems("{addr: a, password: hush, sentinelpassword: hush, readtimeout: soon}")
    assert "hush" not in " ".join(told)
