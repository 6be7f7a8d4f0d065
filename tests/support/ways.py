"""The ways that bytes and look-ups can take: MOORAGE_WAY chooses one for the whole run.

`lent` is what a registry on one host does by itself. `spliced` is what one does whose services are on several
hosts (those of the gateway's tests over mutual TLS), `plain` what is left where neither can be had: all bytes
through gRPC, and nothing kept in memory.
`tls` ends TLS in the gateway, whose connections cannot be lent either.
"""

from __future__ import annotations

import os
from typing import Any

WAYS = ("lent", "spliced", "plain", "tls")


def chosen_way() -> str:
    """The way of this run."""
    way = os.environ.get("MOORAGE_WAY", "lent")
    assert way in WAYS, f"MOORAGE_WAY is one of {WAYS}, not {way!r}"
    return way


def service_settings(way: str) -> dict[str, Any]:
    """What `services` of a configuration holds for a way, apart from addresses."""
    if way == "plain":
        return {"blob": {"channel": "off"}, "gateway": {"memory": 0}, "metadata": {"lease": 0}}
    return {}


def environment(way: str) -> dict[str, str]:
    """The same as environment variables of a registry."""
    return {
        f"REGISTRY_SERVICES_{service}_{key}".upper(): str(value)
        for service, keys in service_settings(way).items()
        for key, value in keys.items()
    }
