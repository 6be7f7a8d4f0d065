"""What a configuration may ask for and this version does not do.

None of it is ignored: a registry that leaves out a webhook or a check that its operator
configured is worse than one that does not start. A version that learns one of these removes its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moorage.config.auth import KINDS
from moorage.config.document import Node, Tree, resolved
from moorage.config.schema import Location
from moorage.config.storage import NOT_DRIVERS


def _always(_: Node) -> bool:
    return True


def _says_something(node: Node) -> bool:
    """Whether anything beneath `node` has a value that is not empty, zero or false."""
    if isinstance(node, dict):
        return any(_says_something(value) for value in node.values())
    if isinstance(node, list):
        return any(_says_something(value) for value in node)
    return bool(resolved(node))


def _is_true(node: Node) -> bool:
    return resolved(node) is True


def _any_enabled(node: Node) -> bool:
    """Whether a list, or a map of lists, has an entry that is not `disabled: true`."""
    if isinstance(node, dict):
        return any(_any_enabled(entries) for entries in node.values())
    if isinstance(node, list):
        return any(isinstance(entry, dict) and not _is_true(entry.get("disabled")) for entry in node)
    return False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The sentence that refuses a key that is there, `when` its value asks for what is not supported."""

    sentence: str
    when: Callable[[Node], bool] = _always


_DRIVER_NEVER = Refusal("this storage driver is not supported; use filesystem, s3 or rados")
_REPLICAS = Refusal("reading from replicas is not supported: they may not know of a delete yet", _is_true)
_PROXY = Refusal(
    "the pull-through cache is not supported by this version; keep distribution for a mirror", _says_something
)

UNSUPPORTED: Mapping[str, Refusal] = {
    "storage.azure": _DRIVER_NEVER,
    "storage.gcs": _DRIVER_NEVER,
    "storage.swift": _DRIVER_NEVER,
    "storage.oss": _DRIVER_NEVER,
    "http.tls.letsencrypt": Refusal(
        "ACME is not supported by this version; leave it to an ingress in front of the registry",
        _says_something,
    ),
    "http.h2c.enabled": Refusal(
        "HTTP/2 over cleartext is not supported by this version; remove it: clients speak HTTP/1.1", _is_true
    ),
    "middleware.registry": Refusal(
        "registry middleware is not supported; remove it or set 'disabled: true' on each entry", _any_enabled
    ),
    "middleware.repository": Refusal(
        "repository middleware is not supported; remove it or set 'disabled: true' on each entry",
        _any_enabled,
    ),
    "proxy": _PROXY,
    "redis.readonly": _REPLICAS,
    "redis.routebylatency": _REPLICAS,
    "redis.routerandomly": _REPLICAS,
    "reporting": Refusal(
        "reporting to bugsnag and newrelic is not supported; use log.hooks for mails about panics, "
        "http.debug.prometheus for metrics and OTEL_TRACES_EXPORTER for traces",
        _says_something,
    ),
    "compatibility.schema1.enabled": Refusal(
        "manifests of Docker schema 1 are not supported; push the images again in a current format",
        _is_true,
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, and where in the tree it stands."""

    location: Location
    message: str


def refused(tree: Tree) -> tuple[Tree, list[Finding]]:
    """The tree without what is refused (its values need no further check), and a finding for each refusal."""
    findings = [*_one_driver(tree.get("storage")), *_one_access_control(tree)]
    rest = tree
    for key, refusal in UNSUPPORTED.items():
        location = tuple(key.split("."))
        held, node = _look_up(tree, location)
        if held and refusal.when(node):
            findings.append(Finding(location, refusal.sentence))
            rest = _without(rest, location)
    return rest, findings


def _one_driver(storage: Node) -> Iterator[Finding]:
    if isinstance(storage, dict):
        drivers = [key for key in storage if key not in NOT_DRIVERS]
        if not drivers:
            yield Finding(("storage",), "no storage driver: name exactly one, such as filesystem")
        elif len(drivers) > 1:
            yield Finding(("storage",), f"multiple storage drivers: {', '.join(drivers)}; name exactly one")


def _one_access_control(tree: Tree) -> Iterator[Finding]:
    if "auth" not in tree:
        return
    auth = tree["auth"]
    if not auth:
        yield Finding(
            ("auth",),
            "names no kind of access control; remove the key, or write 'auth: none', for an open registry",
        )
    elif isinstance(auth, dict):
        kinds = [key for key in auth if key in KINDS]
        if len(kinds) > 1:
            yield Finding(("auth",), f"several kinds of access control: {', '.join(kinds)}; name exactly one")


def _look_up(tree: Tree, location: tuple[str, ...]) -> tuple[bool, Node]:
    node: Any = tree
    for step in location:
        if not isinstance(node, dict) or step not in node:
            return False, None
        node = node[step]
    return True, node


def _without(tree: Tree, location: tuple[str, ...]) -> Tree:
    head, rest = location[0], location[1:]
    if not rest:
        return {key: value for key, value in tree.items() if key != head}
    return {**tree, head: _without(tree[head], rest)}
