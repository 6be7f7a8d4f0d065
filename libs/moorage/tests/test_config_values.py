"""What each key takes, and the sentence for what it does not."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from moorage.config import Configuration, ConfigurationError, parse

Read = Callable[[str, str], Configuration]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("log.level", "WARN", "warn"),
        ("log.formatter", "logstash", "logstash"),
        ("log.reportcaller", "yes", True),
        ("storage.filesystem.rootdirectory", "7", "7"),
        ("storage.filesystem.maxthreads", "'100'", 100),
        ("storage.cache.blobdescriptor", "inmemory", "inmemory"),
        ("storage.cache.blobdescriptor", "''", None),
        ("storage.cache.blobdescriptorsize", "0", 0),
        ("storage.cache.layerinfo", "inmemory", "inmemory"),
        ("storage.redirect.disable", "true", True),
        ("http.addr", "':5000'", ":5000"),
        ("http.addr", "'[::1]:5000'", "[::1]:5000"),
        ("http.host", "https://registry.example:8443/base", "https://registry.example:8443/base"),
        ("http.host", "''", None),
        ("http.prefix", "/my/nested/registry/", "/my/nested/registry/"),
        ("http.prefix", "''", "/"),
        ("http.draintimeout", "0", 0.0),
        ("http.draintimeout", "60s", 60.0),
        ("http.debug.addr", "''", None),
        ("http.limits.manifestsize", "8MiB", 8 * 2**20),
        ("http.limits.uploadsize", "10GB", 10**10),
        ("http.http2.disabled", "true", True),
        ("http.h2c.enabled", "false", False),
        ("health.storagedriver.interval", "0s", 10.0),
        ("catalog.maxentries", "0", 1000),
        ("catalog.maxentries", "-5", 1000),
        ("catalog.maxentries", "50", 50),
        ("tags.maxtags", "0", 1000),
        ("tags.maxtags", "50", 50),
        ("policy.repository.classes", "[image, plugin]", ("image", "plugin")),
        ("validation.manifests.indexes.platforms", "List", "list"),
        ("services.timeout", "5s", 5.0),
        ("services.blob.addr", "unix:///run/a.sock", ("unix:///run/a.sock",)),
        ("services.blob.addr", "[localhost:1, '127.0.0.2:2']", ("localhost:1", "127.0.0.2:2")),
        ("services.metadata.addr", "'tcp://[::1]:4000'", "[::1]:4000"),
        ("services.nats.url", "tls://user:pw@nats.example", "tls://user:pw@nats.example"),
        ("services.nats.syncinterval", "10ms", 0.01),
    ],
)
def test_a_value_is_read(configured: Read, key: str, value: str, expected: Any) -> None:
    assert operator.attrgetter(key)(configured(key, value)) == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("log.level", "loud", "must be one of error, warn, info, debug, not 'loud'"),
        ("loglevel", "panic", "must be one of error, warn, info, debug, not 'panic'"),
        ("log.formatter", "JSON", "must be one of text, json, logstash, not 'JSON'"),
        ("log.accesslog.disabled", "'true'", "must be true or false, not 'true'"),
        ("log.accesslog.disabled", "1", "must be true or false, not 1"),
        ("log.fields", "[a]", "must be a map, not a list"),
        ("storage.filesystem.maxthreads", "many", "must be a whole number, not 'many'"),
        ("storage.filesystem.maxthreads", "2.5", "must be a whole number, not 2.5"),
        ("storage.filesystem.maxthreads", "-1", "must not be negative: -1"),
        ("storage.filesystem.rootdirectory", "[a]", "must be text, not a list"),
        ("storage.delete.enabled", "maybe", "must be true or false, not 'maybe'"),
        ("storage.tag.concurrencylimit", "-1", "must not be negative: -1"),
        ("http", "[]", "must be a map, not a list"),
        ("http.addr", "localhost", "not host:port: 'localhost'"),
        ("http.addr", "localhost:http", "not host:port: 'localhost:http'"),
        ("http.addr", "a:65536", "not host:port: 'a:65536'"),
        ("http.addr", "'::1:5000'", "not host:port: '::1:5000'"),
        ("http.addr", "'http://a:5000'", "not host:port: 'http://a:5000'"),
        ("http.net", "udp", "must be one of tcp, unix, not 'udp'"),
        ("http.host", "registry.example", "not an absolute http or https URL: 'registry.example'"),
        (
            "http.host",
            "ftp://registry.example",
            "not an absolute http or https URL: 'ftp://registry.example'",
        ),
        ("http.host", "'http://[::1'", "not an absolute http or https URL: 'http://[::1'"),
        ("http.host", "http://a:port", "not an absolute http or https URL: 'http://a:port'"),
        ("http.host", "user:pw@registry.example", "not an absolute http or https URL"),
        ("http.prefix", "base/", "must begin and end with '/': 'base/'"),
        ("http.prefix", "/base", "must begin and end with '/': '/base'"),
        (
            "http.prefix",
            "'/a b/'",
            "must be path segments of letters, digits and '._~-' between slashes: '/a b/'",
        ),
        ("http.secret", "[a]", "must be text, not a list"),
        ("http.draintimeout", "soon", "not a duration: 'soon'"),
        ("http.draintimeout", "'10'", "not a duration: '10'"),
        ("http.draintimeout", "1.5", "not a duration: 1.5"),
        ("http.draintimeout", "true", "not a duration: True"),
        ("http.draintimeout", "-1s", "must not be negative: '-1s'"),
        ("http.headers", "{'X Y': [a]}", "not the name of a header: 'X Y'"),
        (
            "http.headers",
            '{X: ["a\\r\\nSet-Cookie: b"]}',
            "the value of X holds characters that a header cannot have",
        ),
        ("http.debug.addr", "5001", "not host:port: '5001'"),
        (
            "http.debug.prometheus.path",
            "metrics",
            "must be '/' and path segments of letters, digits and '._~-': 'metrics'",
        ),
        ("http.limits.manifestsize", "big", "not a size: 'big'"),
        ("http.limits.manifestsize", "0", "must be more than zero"),
        ("http.limits.uploadsize", "-1", "not a size: '-1'"),
        ("http.limits.uploadsize", "[1]", "not a size: a list"),
        ("notifications.endpoints", "{name: a}", "must be a list, not a map"),
        ("tags.maxtags", "-1", "must not be negative: -1"),
        (
            "validation.manifests.indexes.platforms",
            "some",
            "must be one of all, none, list, not 'some'",
        ),
        ("services.timeout", "0s", "must be more than zero"),
        ("services.blobtimeout", "0", "must be more than zero"),
        ("services.blob.addr", "[]", "must hold at least one address"),
        ("services.blob.addr", "[localhost:1, 'tcp://localhost:1']", "holds an address twice"),
        (
            "services.metadata.addr",
            "http://localhost:1",
            "must be unix:///path, dns:///name:port, tcp://host:port or host:port: 'http://localhost:1'",
        ),
        (
            "services.metadata.addr",
            "unix://run/a.sock",
            "must be unix:// and an absolute path: 'unix://run/a.sock'",
        ),
        ("services.metadata.addr", "localhost:0", "must name a host and a port: 'localhost:0'"),
        ("services.metadata.addr", "':4000'", "must name a host and a port: ':4000'"),
        ("services.nats.url", "http://user:pw@nats.example", "must be a nats:// or tls:// URL with a host"),
        ("services.nats.url", "nats://user:pw@nats:port", "not a URL"),
        ("services.nats.syncinterval", "1us", "must be 0 for each event, or from 1ms to 600s"),
    ],
)
def test_a_wrong_value_names_its_key(configured: Read, key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(key, value)
    assert [str(problem) for problem in caught.value.problems] == [f"{key}: {message}"]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("http.trustedproxies", "[10.0.0.0/8, 10.0.0.1/8]", "http.trustedproxies[1]: not a network in CIDR"),
        ("http.headers", "{X: [a, {}]}", "http.headers.X[1]: must be text, not a map"),
        (
            "validation.manifests.urls",
            "{allow: ['^https://', '(']}",
            "validation.manifests.urls.allow[1]: not a regular expression: '(': ",
        ),
        (
            "validation.manifests.urls",
            "{deny: ['[[:alpha:]]']}",
            "validation.manifests.urls.deny[0]: not a regular expression: '[[:alpha:]]': ",
        ),
        ("health.file", "[{interval: 1s}]", "health.file[0].file: is required"),
        ("health.tcp", "[{addr: 'a:1'}, {addr: a}]", "health.tcp[1].addr: not host:port: 'a'"),
        ("health.http", "[{uri: /up}]", "health.http[0].uri: not an absolute http or https URL: '/up'"),
        (
            "notifications.endpoints",
            "[{disabled: true, name: a}]",
            "notifications.endpoints[0].url: is required",
        ),
        (
            "validation.manifests.indexes.platformlist",
            "[{os: linux, arch: arm}]",
            "validation.manifests.indexes.platformlist[0].architecture: is required",
        ),
    ],
)
def test_a_wrong_item_of_a_list_is_named_with_its_index(
    configured: Read, key: str, value: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(key, value)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("storge: inmemory", "storge: unknown key, did you mean 'storage'?"),
        ("http: {adr: 'a:1'}", "http.adr: unknown key, did you mean 'addr'?"),
        ("HTTP: {}", "HTTP: unknown key, did you mean 'http'?"),
        ("http: {xyzzy: 1}", "http.xyzzy: unknown key"),
        (
            "health: {tcp: [{addr: 'a:1', timout: 1s}]}",
            "health.tcp[0].timout: unknown key, did you mean 'timeout'?",
        ),
        ("services: {gateway: {addr: 'a:1'}}", "services.gateway.addr: unknown key"),
    ],
)
def test_an_unknown_key_is_named_whole_with_the_nearest_known_one(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"version: 0.1\nstorage: inmemory\n{text}\n", {})
    assert str(caught.value) == sentence


def test_all_problems_are_listed_in_the_document_s_order() -> None:
    text = (
        "http: {draintimeout: soon, adr: 1}\nstorage:\n  s3: {}\n  filesystem: {maxthreads: x}\n"
        "version: 0.1\nlog: {level: loud}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    error = caught.value
    assert [problem.key for problem in error.problems] == [
        "http.draintimeout",
        "http.adr",
        "storage",
        "storage.s3.bucket",
        "storage.s3.region",
        "storage.filesystem.maxthreads",
        "log.level",
    ]
    assert str(error) == "http.draintimeout: not a duration: 'soon'"
    assert (error.key, error.message) == ("http.draintimeout", "not a duration: 'soon'")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse("version: 0.1\nstorage: inmemory\n", {}).http.addr = ":1"  # type: ignore[misc]


def test_neither_text_nor_dump_of_a_configuration_shows_its_secrets() -> None:
    read = parse(
        "version: 0.1\nstorage: inmemory\nhttp: {secret: hush}\nredis: {password: hush}\n"
        "services: {nats: {url: 'nats://user:hush@127.0.0.1'}}\n"
        "health: {http: [{uri: 'http://a/', headers: {Authorization: hush}}]}\n",
        {},
    )
    assert "hush" not in repr(read)
    assert "hush" not in str(read.http.model_dump())
    assert read.http.secret is not None
    assert read.http.secret.get_secret_value() == "hush"


@pytest.mark.parametrize("secret", ["", "''", "~"])
def test_an_empty_secret_is_none(configured: Read, secret: str) -> None:
    assert configured("http.secret", secret).http.secret is None
