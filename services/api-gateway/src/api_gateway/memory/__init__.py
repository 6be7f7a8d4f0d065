"""What a gateway process keeps of what it has looked up, and the lease under which it may rely on it."""

from api_gateway.memory.entries import BlobKey, LinkedBlob, Manifest, ManifestKey, TagList, TagListKey
from api_gateway.memory.lease import holding
from api_gateway.memory.leased import Memory, Watch

__all__ = [
    "BlobKey",
    "LinkedBlob",
    "Manifest",
    "ManifestKey",
    "Memory",
    "TagList",
    "TagListKey",
    "Watch",
    "holding",
]
