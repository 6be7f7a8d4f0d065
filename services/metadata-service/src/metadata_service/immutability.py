"""`policy.tags.immutable`: tags that stay as they were first pushed.

This module knows which tags those are. What it means for a push or a delete is decided by `manifests.store`,
while it holds the tag's or the manifest's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorage.config.validation import ImmutableTags
from moorage.globs import matches


class Immutability:
    """The rules. No tag is special, `latest` neither."""

    def __init__(self, rules: Sequence[ImmutableTags]) -> None:
        self._fixing = tuple(rules)
        self._keeping = tuple(rule for rule in rules if not rule.allowdelete)

    def fixed(self, repository: str, tags: Iterable[str]) -> list[str]:
        """Those of the tags that must not be moved once they are there."""
        return _chosen(self._fixing, repository, tags)

    def kept(self, repository: str, tags: Iterable[str]) -> list[str]:
        """Those of the tags that must not be removed either."""
        return _chosen(self._keeping, repository, tags)

    def keeps_some(self, repository: str) -> bool:
        """Whether the repository may have tags that must not be removed."""
        return bool(_about(self._keeping, repository))


def _about(rules: Iterable[ImmutableTags], repository: str) -> list[ImmutableTags]:
    return [rule for rule in rules if any(matches(glob, repository) for glob in rule.repositories)]


def _chosen(rules: Sequence[ImmutableTags], repository: str, tags: Iterable[str]) -> list[str]:
    if not rules:
        return []
    globs = [glob for rule in _about(rules, repository) for glob in rule.tags]
    return [tag for tag in tags if any(matches(glob, tag) for glob in globs)]
