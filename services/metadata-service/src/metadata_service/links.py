"""Link files: a digest in a file, which lets a repository reach content.

A link that holds no digest (an interrupted write of an old registry leaves an empty one, distribution's
issue 1960) counts as absent, with a warning in the log. Content that was pushed under a digest of another
algorithm than the canonical one has two links: the canonical digest's, and under the other digest (the
alias) one that holds the canonical digest. An alias is believed only together with the canonical link, so
that removing the canonical link revokes both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from metadata_service.metrics import DAMAGE, MALFORMED_LINK
from metadata_service.objects import Objects
from moorage.digest import Digest, InvalidDigestError

log = structlog.get_logger("metadata_service.links")


def link_content(digest: Digest) -> bytes:
    """What a link to `digest` holds."""
    return str(digest).encode("ascii")


class Links:
    """Reads link files."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def read(self, paths: list[str]) -> list[Digest | None]:
        """The digest that each link holds; None for one that is absent or malformed."""
        contents = await self._objects.get(paths)
        return [_parse(path, content) for path, content in zip(paths, contents, strict=True)]

    async def resolve(self, digests: Iterable[Digest], path: Callable[[Digest], str]) -> dict[Digest, Digest]:
        """The canonical digest of each digest that is linked; those that are not are left out.

        `path` gives the link's path: `Repository.layer_link` or `Repository.revision_link`.
        """
        asked = list(dict.fromkeys(digests))
        targets = await self.targets(asked, path)
        found = {digest: target for digest, target in targets.items() if digest == target}
        aliases = {digest: target for digest, target in targets.items() if digest != target}
        if aliases:
            unseen = [target for target in dict.fromkeys(aliases.values()) if target not in found]
            canonical = {*found, *(await self.targets(unseen, path))}
            found |= {alias: target for alias, target in aliases.items() if target in canonical}
        return found

    async def targets(self, digests: list[Digest], path: Callable[[Digest], str]) -> dict[Digest, Digest]:
        """The canonical digest that the link of each digest itself holds, believed or not."""
        if not digests:
            return {}
        paths = [path(digest) for digest in digests]
        targets = {}
        for digest, link, target in zip(digests, paths, await self.read(paths), strict=True):
            if target is None:
                continue
            if target == digest if digest.is_canonical else target.is_canonical:
                targets[digest] = target
            else:
                DAMAGE.labels(MALFORMED_LINK).inc()
                log.warning("a link names other content than its path", path=link, target=str(target))
        return targets


def _parse(path: str, content: bytes | None) -> Digest | None:
    if content is None:
        return None
    try:
        return Digest.parse(content.decode("ascii"))
    except (InvalidDigestError, UnicodeDecodeError):
        DAMAGE.labels(MALFORMED_LINK).inc()
        log.warning("a malformed link counts as absent", path=path, content=repr(content[:160]))
        return None
