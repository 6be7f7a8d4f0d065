"""Conditional requests on content whose entity tag is its digest.

There is no Last-Modified: content under a digest never changes, so the dates of If-Modified-Since,
If-Unmodified-Since and If-Range never decide. Source: RFC 9110, section 13; Go's http.ServeContent, whose
answers distribution gives. Beyond both, a tag without quotes is understood, since clients send digests so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from api_gateway.headers import Headers

_TAG = re.compile(r'[\s,]*(?:(?P<any>\*)|(?P<weak>W/)?"(?P<quoted>[^"]*)"|(?P<bare>[^\s,"]+))')

# No client needs more; what follows is not looked at.
_MOST_TAGS = 128


@dataclass(frozen=True, slots=True)
class EntityTag:
    """One entity tag, without its quotes."""

    opaque: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class EntityTags:
    """What an If-Match or If-None-Match lists: tags, or `*`, which stands for any."""

    tags: tuple[EntityTag, ...] = ()
    any: bool = False

    def match_strongly(self, digests: Collection[str]) -> bool:
        """Whether one of the tags is one of the digests, weak tags not counting (If-Match, If-Range)."""
        return self.any or any(not tag.weak and tag.opaque in digests for tag in self.tags)

    def match_weakly(self, digests: Collection[str]) -> bool:
        """Whether one of the tags is one of the digests (If-None-Match)."""
        return self.any or any(tag.opaque in digests for tag in self.tags)


class Precondition(Enum):
    """What a request's conditions come to."""

    PASSED = "passed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


def entity_tag(digest: str) -> str:
    """The ETag of content under a digest."""
    return f'"{digest}"'


def parse_entity_tags(lines: Iterable[str]) -> EntityTags:
    """The tags of one header that may stand on several lines. What cannot be read ends its line."""
    tags: list[EntityTag] = []
    for line in lines:
        position = 0
        while len(tags) < _MOST_TAGS and (match := _TAG.match(line, position)):
            position = match.end()
            if match["any"]:
                return EntityTags(tuple(tags), any=True)
            if match["quoted"] is not None:
                tags.append(EntityTag(match["quoted"], weak=match["weak"] is not None))
            else:
                tags.append(EntityTag(match["bare"]))
    return EntityTags(tuple(tags))


def evaluate(headers: Headers, digests: Collection[str]) -> Precondition:
    """What If-Match and If-None-Match of a GET or HEAD come to for existing content with these digests."""
    if_match = headers.lines(b"if-match")
    if if_match and not parse_entity_tags(if_match).match_strongly(digests):
        return Precondition.FAILED
    if_none_match = headers.lines(b"if-none-match")
    if if_none_match and parse_entity_tags(if_none_match).match_weakly(digests):
        return Precondition.NOT_MODIFIED
    return Precondition.PASSED


def range_applies(headers: Headers, digests: Collection[str]) -> bool:
    """Whether If-Range lets a Range header count: it is absent, or names this content."""
    condition = headers.get(b"if-range")
    return not condition or parse_entity_tags([condition]).match_strongly(digests)
