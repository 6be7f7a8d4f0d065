"""`validation` and `policy`: what a pushed manifest may hold, and which tags stay as they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from moorage.config.globs import Globs
from moorage.config.section import Section
from moorage.config.values import Flag, Lines, RegularExpression, Text, one_of


class URLs(Section):
    """`validation.manifests.urls`."""

    allow: tuple[RegularExpression, ...] = ()
    deny: tuple[RegularExpression, ...] = ()

    def permits(self, url: str) -> bool:
        """Whether a manifest may point at `url`.

        It must match one of `allow` and none of `deny`, each searched for anywhere in it. With neither list
        no URL is permitted; with `deny` alone every other URL is.
        """
        if not self.allow and not self.deny:
            return False
        if self.allow and not any(pattern.search(url) for pattern in self.allow):
            return False
        return not any(pattern.search(url) for pattern in self.deny)


class Platform(Section):
    """One of `validation.manifests.indexes.platformlist`."""

    architecture: Text
    os: Text


class Indexes(Section):
    """`validation.manifests.indexes`: whose children must exist when an index is pushed."""

    platforms: Annotated[
        Literal["all", "none", "list"], BeforeValidator(one_of("all", "none", "list", any_case=True))
    ] = "all"
    platformlist: tuple[Platform, ...] = ()


class Manifests(Section):
    """`validation.manifests`."""

    urls: URLs = Field(default_factory=URLs)
    indexes: Indexes = Field(default_factory=Indexes)


class Validation(Section):
    """`validation`. Ask `active`, which knows how the two switches go together."""

    enabled: Flag = False
    disabled: Flag = False
    manifests: Manifests = Field(default_factory=Manifests)

    @property
    def active(self) -> bool:
        """Whether manifests are validated: unless `disabled`, which the old `enabled: true` outdoes."""
        return self.enabled or not self.disabled


class RepositoryPolicy(Section):
    """`policy.repository`: an empty `classes` allows every class."""

    classes: Lines = ()


class ImmutableTags(Section):
    """One of `policy.tags.immutable`: tags that a push may set once, and nothing moves."""

    repositories: Globs
    tags: Globs
    allowdelete: Flag = False


class TagPolicy(Section):
    """`policy.tags`."""

    immutable: tuple[ImmutableTags, ...] = ()


class Policy(Section):
    """`policy`."""

    tags: TagPolicy = Field(default_factory=TagPolicy)
    repository: RepositoryPolicy = Field(default_factory=RepositoryPolicy)
