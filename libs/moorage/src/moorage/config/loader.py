"""From text and environment to a `Configuration`, or to one error that holds everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from moorage.config import endpoints
from moorage.config.configuration import Configuration
from moorage.config.document import DocumentError, Node, Tree, read_tree, resolved
from moorage.config.embedded import data_dir, embedded_default
from moorage.config.environment import CONFIGURATION_PATH, override
from moorage.config.errors import ConfigurationError, Problem
from moorage.config.refusals import Finding, refused
from moorage.config.schema import Location, dotted, every_key, field_at, fields_of, nearest, section_at
from moorage.config.services import host_and_port, is_unix
from moorage.config.tokenserver import clashes
from moorage.config.values import DURATION, WARNINGS, is_loopback, kind

# What an error's key is when the document as a whole is wrong.
DOCUMENT = "configuration"

_MILLISECOND = 10**6  # in nanoseconds: a bare number below it was probably meant as seconds


def load(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """The configuration in the file at `path`, with the overrides in `environ`.

    Without a path, the file that REGISTRY_CONFIGURATION_PATH names is read; without that, the embedded
    default, whose data stand under the user's data folder. Raises ConfigurationError.
    """
    named = path or (Path(environ[CONFIGURATION_PATH]) if environ.get(CONFIGURATION_PATH) else None)
    if named is None:
        return parse(embedded_default(data_dir(environ)), environ)
    try:
        text = named.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(str(named), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(named), "cannot be read: not UTF-8") from error
    return parse(text, environ)


def parse(text: str, environ: Mapping[str, str]) -> Configuration:
    """The configuration in a YAML text, with the overrides in `environ`. Raises ConfigurationError."""
    try:
        tree = read_tree(text)
    except DocumentError as error:
        raise ConfigurationError(DOCUMENT, str(error)) from error
    tree, warnings = override(tree, environ)
    supported, findings = refused(tree)
    collected = list(warnings)
    configuration: Configuration | None = None
    try:
        configuration = Configuration.model_validate(supported, context={WARNINGS: collected})
    except ValidationError as error:
        findings.extend(_finding(details) for details in error.errors(include_url=False))
    if configuration is not None:
        findings.extend(_exposed_services(configuration))
        findings.extend(_tls(configuration))
        findings.extend(_blob_workers(configuration))
        findings.extend(_redis(configuration))
        findings.extend(_token_server(configuration))
        findings.extend(_endpoints(configuration))
    if findings or configuration is None:
        raise ConfigurationError.of(_in_document_order(findings, tree))
    return _completed(configuration, supported, collected)


def _token_server(configuration: Configuration) -> Iterator[Finding]:
    """Groups that a rule names and nobody defines, and a path that something else has."""
    at: Location = ("auth", "token", "server")
    token = configuration.auth.token
    if token is None or token.server is None:
        return
    for location, message in token.server.unknown_groups():
        yield Finding((*at, *location), message)
    if taken := clashes(token.server, configuration.http.prefix):
        yield Finding((*at, "path"), taken)


def _finding(details: ErrorDetails) -> Finding:
    location: Location = tuple(details["loc"])
    match details["type"]:
        case "value_error":
            message = str(details["ctx"]["error"])
        case "missing":
            message = "is required"
        case "extra_forbidden":
            message = _unknown_key(location)
        case "model_type" | "dict_type":
            message = f"must be a map, not {kind(details['input'])}"
        case "tuple_type":
            message = f"must be a list, not {kind(details['input'])}"
        case _:
            message = details["msg"]
    return Finding(location, message)


def _unknown_key(location: Location) -> str:
    section = section_at(Configuration, location[:-1])
    name = str(location[-1])
    near = nearest(name, fields_of(section)) if section is not None else None
    if near is None:
        # Right, but in the wrong place?
        elsewhere = [key for key in every_key(Configuration) if key.rpartition(".")[2] == name.lower()]
        near = elsewhere[0] if len(elsewhere) == 1 else None
    return "unknown key" + (f", did you mean '{near}'?" if near else "")


def _in_document_order(findings: Iterable[Finding], tree: Tree) -> list[Problem]:
    """The findings as problems, sorted by where they stand; a missing key sorts with what should hold it."""
    order = {location: index for index, (location, _) in enumerate(_nodes(tree, ()))}

    def place(finding: Finding) -> int:
        location = finding.location
        while location and location not in order:
            location = location[:-1]
        return order.get(location, -1)

    return [Problem(dotted(finding.location), finding.message) for finding in sorted(findings, key=place)]


def _nodes(node: Node, at: Location) -> Iterator[tuple[Location, Node]]:
    if at:
        yield at, node
    children: Iterable[tuple[Any, Node]] = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for step, child in children:
        yield from _nodes(child, (*at, step))


def _exposed_services(configuration: Configuration) -> Iterator[Finding]:
    """Without TLS a service answers whoever reaches it: it may only listen on this host then.

    The addresses of the loopback interface count as this host: who can connect there runs on it.
    """
    services = configuration.services
    if services.insecure or services.tls.is_on:
        return
    blob: list[tuple[Location, str]] = [
        (("services", "blob", "addr", index), address) for index, address in enumerate(services.blob.addr)
    ]
    single: list[tuple[Location, str]] = [
        (("services", "metadata", "addr"), services.metadata.addr),
        (("services", "notifier", "addr"), services.notifier.addr),
    ]
    for location, address in [*blob, *single]:
        if not is_unix(address) and not is_loopback(host_and_port(address)[0]):
            yield Finding(
                location,
                f"{address} is not on this host, and calls between services are neither encrypted nor "
                "authenticated; set services.tls, use unix sockets, or set 'services.insecure: true' on a "
                "private network",
            )


def _tls(configuration: Configuration) -> Iterator[Finding]:
    for key, sentence in configuration.http.tls.problems():
        yield Finding(("http", "tls", key), sentence)
    services = configuration.services
    for key, sentence in services.tls.problems():
        yield Finding(("services", "tls", key), sentence)


def _blob_workers(configuration: Configuration) -> Iterator[Finding]:
    blob = configuration.services.blob
    if configuration.storage.inmemory is not None:
        if blob.workers > 1:
            yield Finding(
                ("services", "blob", "workers"),
                "must be 1, or left out, with the in-memory driver: each process would have its own store",
            )
        return
    problem = blob.problem()
    if problem is not None:
        key, sentence = problem
        yield Finding(("services", "blob", key), sentence)


def _endpoints(configuration: Configuration) -> Iterator[Finding]:
    notifications = configuration.notifications
    for location, sentence in endpoints.problems(notifications.endpoints, notifications.allows_private):
        yield Finding(("notifications", "endpoints", *location), sentence)


def _endpoint_warnings(configuration: Configuration) -> Iterator[str]:
    notifications = configuration.notifications
    for index, endpoint in enumerate(notifications.endpoints):
        if not endpoint.disabled and endpoint.maxage >= notifications.stream.maxage:
            yield (
                f"notifications.endpoints[{index}].maxage: not less than notifications.stream.maxage, so "
                "events that cannot be delivered may leave the stream before they become dead letters"
            )


def _redis(configuration: Configuration) -> Iterator[Finding]:
    redis = configuration.redis
    for key, sentence in redis.problems():
        yield Finding(("redis", *key.split(".")), sentence)
    if configuration.storage.cache.blobdescriptor == "redis" and not redis.addresses:
        yield Finding(
            ("redis",), "is required, with addr or addrs, where storage.cache.blobdescriptor is redis"
        )


def _redis_warnings(configuration: Configuration) -> Iterator[str]:
    redis = configuration.redis
    if configuration.storage.cache.blobdescriptor != "redis":
        if redis.addresses:
            yield "redis: not used, as storage.cache.blobdescriptor is not redis"
        return
    if "blobdescriptorsize" in configuration.storage.cache.model_fields_set:
        yield "storage.cache.blobdescriptorsize: not used with redis; set maxmemory in Redis itself"
    yield from (f"redis.{key}: {sentence}" for key, sentence in redis.remarks())


def _completed(configuration: Configuration, tree: Tree, warnings: list[str]) -> Configuration:
    """The configuration with `loglevel` moved to where it belongs, and with its warnings."""
    for location, node in _nodes(tree, ()):
        number = resolved(node)
        if isinstance(number, int) and 0 < number < _MILLISECOND and _is_duration(location):
            warnings.append(f"{dotted(location)}: {number} is nanoseconds; write '{number}s' for seconds")
    if configuration.loglevel is not None:
        warnings.append("loglevel: deprecated; write log.level")
        if "level" not in configuration.log.model_fields_set:
            log = configuration.log.model_copy(update={"level": configuration.loglevel})
            configuration = configuration.model_copy(update={"log": log})
    if configuration.storage.inmemory is not None:
        blob = configuration.services.blob.model_copy(update={"workers": 1})
        services = configuration.services.model_copy(update={"blob": blob})
        configuration = configuration.model_copy(update={"services": services})
    if configuration.storage.cache.layerinfo is not None:
        warnings.append("storage.cache.layerinfo: deprecated; write storage.cache.blobdescriptor")
    if configuration.validation.enabled:
        warnings.append("validation.enabled: deprecated; validation is on unless validation.disabled is true")
    warnings.extend(_redis_warnings(configuration))
    warnings.extend(_endpoint_warnings(configuration))
    return configuration.with_warnings(tuple(warnings))


def _is_duration(location: Location) -> bool:
    field = field_at(Configuration, location)
    return field is not None and DURATION in field.metadata
