"""Listing the tags of repositories: from memory, else by the metadata service."""

from __future__ import annotations

from api_gateway import metrics
from api_gateway.clients.metadata import MetadataClient
from api_gateway.memory import Memory, TagList, TagListKey


class TagsClient:
    """Lists tags. Raises RegistryError, as `metadata.proto` says for ListTags."""

    def __init__(self, metadata: MetadataClient, memory: Memory) -> None:
        self._metadata = metadata
        self._memory = memory

    async def list(self, key: TagListKey) -> TagList:
        """The tags that the key names."""
        kept = self._memory.tags(key)
        if kept is not None:
            metrics.TAGS_HITS.inc()
            return kept
        metrics.TAGS_MISSES.inc()
        # Over all pages: a change between two of them leaves nothing to keep.
        with self._memory.watching() as watch:
            page = await self._metadata.list_tags(key.repository, key.last, key.limit, lease=watch.lease)
            tags, held = list(page.tags), page.held
            # All tags come in several pages. One that is empty and yet not the last would never end.
            while key.limit is None and page.more and page.tags:
                page = await self._metadata.list_tags(key.repository, tags[-1], None, lease=watch.lease)
                tags += page.tags
                held = held and page.held
            found = TagList.of(key.repository, tags, page.more)
            if held:
                self._memory.keep(watch, key, found)
        return found
