"""What a manifest refers to, for `notifications.events.includereferences`.

Source: distribution's `References` of a manifest: the configuration and the layers of an image, the
manifests of a list or an index.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import structlog

from moorage.events import Descriptor

log = structlog.get_logger("api_gateway.events")

# Fields of a descriptor beside the three that each has.
_OTHERS = ("urls", "annotations", "platform", "artifactType")

# A manifest of more bytes is parsed in a thread.
_LARGE = 64 * 1024


async def references(content: bytes) -> tuple[Descriptor, ...]:
    """The descriptors in a manifest that the registry has taken, in order; none if it cannot be read."""
    try:
        if len(content) > _LARGE:
            return await asyncio.to_thread(_references, content)
        return _references(content)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # The manifest is there, and so must its event be.
        log.warning("an event is published without references", reason=str(error))
        return ()


def _references(content: bytes) -> tuple[Descriptor, ...]:
    document: dict[str, Any] = json.loads(content)
    config = document.get("config")
    found = [config] if isinstance(config, dict) else []
    for key in ("layers", "manifests", "blobs"):
        listed = document.get(key)
        found += [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return tuple(map(_descriptor, found))


def _descriptor(document: dict[str, Any]) -> Descriptor:
    others = {key: document[key] for key in _OTHERS if document.get(key)}
    return Descriptor(
        str(document.get("mediaType", "")),
        str(document.get("digest", "")),
        int(document.get("size", 0)),
        others,
    )
