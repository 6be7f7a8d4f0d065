"""Which events an endpoint is told of."""

from __future__ import annotations

from moorage.config.endpoints import Endpoint
from moorage.events import Event
from moorage.globs import matches


def wants(endpoint: Endpoint, event: Event) -> bool:
    """Whether an event is none that the endpoint ignores, and of a repository that it asks for.

    As in distribution, a media type or an action that is ignored is reason enough.
    """
    if event.action in endpoint.ignore.actions or event.target.media_type in endpoint.ignored_media_types:
        return False
    return not endpoint.repositories or any(
        matches(glob, event.target.repository) for glob in endpoint.repositories
    )
