"""Garbage collection: what no manifest needs is removed.

Mark: each repository's manifests are read, those that stay are told from those that go, and what the former
need is noted. Sweep: manifests and links go first, then blobs, so that wherever it is cut off no link leads
to bytes that are gone and the next collection goes on. About 120 bytes of memory for each blob that stays.

Source: distribution's `registry garbage-collect`. Beyond it: referrers stay with their subject, links to
removed blobs go also where a repository has no manifests, and gateways are told (docs/leases.md).
"""

from metadata_service.garbage.collector import Collector, Options

__all__ = ["Collector", "Options"]
