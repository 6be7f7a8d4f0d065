"""Every key of distribution, from 2.0 to 3.1: read, or refused with a sentence; none is ignored."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from moorage.config import ConfigurationError, parse
from moorage.config.configuration import Configuration
from moorage.config.effective import effective
from moorage.config.middleware import STORAGE_MIDDLEWARE
from moorage.config.reference import REFERENCE_KEYS, is_own
from moorage.config.refusals import UNSUPPORTED
from moorage.config.schema import every_key, section_at

# A value that a key can have, where none of the general ones below will do.
VALUES: dict[str, Any] = {
    "version": 0.1,
    "loglevel": "debug",
    "log.level": "debug",
    "log.formatter": "json",
    "log.hooks[].type": "mail",
    "log.hooks[].levels": ["panic"],
    "log.hooks[].options.smtp.addr": "mail.example.com:25",
    "log.hooks[].options.from": "a@example.com",
    "log.hooks[].options.to": ["b@example.com"],
    "storage.s3.keyid": "key",
    "storage.s3.storageclass": "STANDARD_IA",
    "storage.s3.objectacl": "public-read",
    "storage.s3.loglevel": "debug",
    "storage.s3.regionendpoint": "http://s3.example.com",
    "storage.s3.redirectendpoint": "http://s3.example.com",
    "storage.s3.v4auth": True,
    "storage.cache.blobdescriptor": "inmemory",
    "storage.cache.layerinfo": "inmemory",
    "http.addr": "localhost:5001",
    "http.net": "tcp",
    "http.host": "https://registry.example.com",
    "http.prefix": "/prefix/",
    "http.debug.addr": "localhost:5002",
    "http.tls.clientauth": "verify-client-cert-if-given",
    "http.tls.minimumtls": "tls1.3",
    "http.tls.ciphersuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    "auth.token.realm": "https://auth.example.com/token",
    "auth.token.signingalgorithms": ["ES256"],
    "auth.token.autoredirect": True,
    "auth.token.autoredirectpath": "/elsewhere",
    "http.debug.prometheus.path": "/prometheus",
    "notifications.endpoints[].url": "https://listener.example.com/",
    "redis.addr": "localhost:6379",
    "redis.addrs": ["localhost:6379"],
    "redis.protocol": "3",
    "health.http[].uri": "http://example.com/",
    "health.tcp[].addr": "example.com:1",
    "proxy.remoteurl": "https://upstream.example.com",
    "validation.manifests.indexes.platforms": "list",
    "reporting.bugsnag.endpoint": "https://bugsnag.example.com",
}
# What an item or a section cannot be without, beside the key that a test is about.
WITH: dict[str, dict[str, Any]] = {
    "log.hooks[]": {"type": "mail", "disabled": True},
    "notifications.endpoints[]": {"name": "a", "url": "https://listener.example.com/", "disabled": True},
    "health.file[]": {"file": "/nonexistent"},
    "health.http[]": {"uri": "http://example.com/"},
    "health.tcp[]": {"addr": "example.com:1"},
    "middleware.registry[]": {"name": "a", "disabled": True},
    "middleware.repository[]": {"name": "a", "disabled": True},
    "middleware.storage[]": {"name": "redirect", "disabled": True},
    "validation.manifests.indexes.platformlist[]": {"architecture": "arm64", "os": "linux"},
    "storage.s3": {"bucket": "b", "region": "us-east-1", "accesskey": "a", "secretkey": "b", "encrypt": True},
    "storage.s3aws": {
        "bucket": "b",
        "region": "us-east-1",
        "accesskey": "a",
        "secretkey": "b",
        "encrypt": True,
    },
    "storage.rados": {"poolname": "p"},
    "storage.maintenance.uploadpurging": {"enabled": True, "age": "1h", "interval": "1h", "dryrun": False},
    "auth.silly": {"realm": "r", "service": "s"},
    "auth.htpasswd": {"realm": "r", "path": "/htpasswd"},
    "auth.token": {"realm": "https://a.example", "service": "s", "issuer": "i", "jwks": "/jwks.json"},
    "http.tls": {"certificate": "/c", "key": "/k", "clientcas": ["/ca"]},
    "redis": {"addr": "localhost:6379"},
    "redis.tls": {"certificate": "/c", "key": "/k"},
}
DRIVERS = ("filesystem", "s3", "s3aws", "rados", "azure", "gcs", "swift", "oss")
# One of these is tried, the first that the key takes; they differ from what is the default.
GENERAL: tuple[Any, ...] = ("17s", 17, True, False, "8MiB", "word", ["word"], {})
LEAVES = sorted(
    key
    for key in REFERENCE_KEYS
    if not any(other.startswith((f"{key}.", f"{key}[]")) for other in REFERENCE_KEYS)
)


def document(key: str, value: Any) -> dict[str, Any]:
    """The shortest document in which this key has this value."""
    tree: dict[str, Any] = {"version": 0.1}
    driver = key.split(".")[1] if key.startswith("storage.") else ""
    if driver not in DRIVERS:
        tree["storage"] = {"inmemory": {}}
    node, path = tree, ""
    *sections, last = key.split(".")
    for step in sections:
        path = f"{path}.{step}".lstrip(".")
        name = step.removesuffix("[]")
        inner: dict[str, Any] = node.get(name, {}) if name == step else {}
        inner.update(WITH.get(path, {}))
        node[name] = inner if name == step else [inner]
        node = inner
    if key == "redis.addrs" or key.startswith("redis.pool"):
        node.pop("addr", None)
    node[last] = value
    return tree


def outcome(key: str) -> Configuration | ConfigurationError:
    """What becomes of a document with this key."""
    same_in_s3 = key.replace("storage.s3aws", "storage.s3")
    candidates = (VALUES[same_in_s3],) if same_in_s3 in VALUES else GENERAL
    error: ConfigurationError | None = None
    for candidate in candidates:
        try:
            return parse(yaml.safe_dump(document(key, candidate)), {})
        except ConfigurationError as caught:
            if refused_by(caught, key):
                return caught
            error = error or caught
    assert error is not None
    return error


def refused_by(error: ConfigurationError, key: str) -> bool:
    """Whether it is the key, or a section that it is in, that is not supported, and not this value of it."""
    plain = key.replace("[]", "")
    for problem in error.problems:
        at = problem.key.replace("[0]", "")
        if (plain == at or plain.startswith(f"{at}.")) and problem.message in {
            refusal.sentence for refusal in UNSUPPORTED.values()
        }:
            return True
    return False


@pytest.mark.parametrize("key", LEAVES)
def test_a_key_of_distribution_is_read_or_refused(key: str) -> None:
    found = outcome(key)
    if isinstance(found, ConfigurationError):
        assert refused_by(found, key), [str(problem) for problem in found.problems]
        return
    assert [warning for warning in found.warnings if "unknown" in warning] == []
    if key == "version" or key.startswith("auth.none"):
        return
    # It has arrived: a document without it comes to something else, or the key stands in its section now.
    *sections, last = key.split(".")
    node: Any = effective(found)
    for step in sections:
        node = node.get(step.removesuffix("[]"), {})
        node = node[0] if step.endswith("[]") else node
    assert last in node


def test_every_key_of_the_models_is_distribution_s_or_own() -> None:
    known = set(every_key(Configuration))
    foreign = {
        key for key in REFERENCE_KEYS - known if section_at(Configuration, tuple(key.split(".")[:2])) is None
    }
    assert REFERENCE_KEYS - known - foreign == set()
    assert {key.split(".")[0] for key in foreign} <= {"storage", "auth"}
    assert is_own("services.blob.addr")
    assert not is_own("storage.filesystem.rootdirectory")


def test_the_storage_middleware_of_distribution_is_known() -> None:
    assert set(STORAGE_MIDDLEWARE) == {"cloudfront", "redirect", "rewrite"}


@pytest.mark.parametrize("sentence", sorted({refusal.sentence for refusal in UNSUPPORTED.values()}))
def test_a_refusal_says_what_to_do_instead(sentence: str) -> None:
    # Two clauses: what is refused, and what to do, or why nobody should.
    assert sentence.count(";") + sentence.count(":") >= 1, sentence


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("draintimeout: 3s", "draintimeout: unknown key, did you mean 'http.draintimeout'?"),
        ("http: {rootdirectory: /x}", "http.rootdirectory: unknown key"),
        ("htp: {}", "htp: unknown key, did you mean 'http'?"),
        ("log: {hokks: []}", "log.hokks: unknown key, did you mean 'hooks'?"),
    ],
)
def test_a_key_in_the_wrong_place_is_told_its_place(section: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"version: 0.1\nstorage: inmemory\n{section}\n", {})
    assert str(caught.value) == sentence
