"""Descriptors of blobs."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.digest import Digest
from moorage.v1 import common_pb2

OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class BlobDescriptor:
    """What a blob is: its canonical digest, its size in bytes and its media type."""

    digest: Digest
    size: int
    media_type: str = OCTET_STREAM

    def as_message(self) -> common_pb2.Descriptor:
        """The descriptor as the contract has it."""
        return common_pb2.Descriptor(media_type=self.media_type, digest=str(self.digest), size=self.size)
