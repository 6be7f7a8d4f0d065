"""The record of a file that is not committed yet: what of it is stored, and where.

It lies at `<key of the file>/~upload`: one line of JSON, then the bytes after the last whole part. What the
record says is what the file has. It is replaced as a whole and only by whoever knows what it says (If-Match
on its entity tag), so of two writers that went on from the same record one is told that it lost.

The parts themselves are those of a multipart upload; `parts_digest` says which ones, so that a part that
somebody else wrote over since is found out.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from blob_service.drivers.errors import DriverError
from blob_service.drivers.s3.bucket import Bucket, nanoseconds
from blob_service.drivers.s3.multipart import Part
from blob_service.drivers.s3.requests import NAME

_VERSION = 1

# The line of JSON is shorter.
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """What of a file is stored; see above."""

    # The entity tag of what was at the path when the writing began, empty for nothing. If something else is
    # there, then this record is of a file that was committed or replaced since, and void.
    replaces: str
    # The multipart upload; empty as long as all of the file fits into the tail.
    upload_id: str
    first_part_size: int
    # So many whole parts, which are numbered from 1.
    parts: int
    parts_digest: str
    # Bytes of the file, the tail included.
    size: int
    # Two records never have the same entity tag.
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it lies in the bucket."""

    record: Record
    tail: bytes
    etag: str
    # When it was stored, in nanoseconds since 1970; None for one that was stored just now.
    modified_ns: int | None = None


class DamagedRecordError(DriverError):
    """What lies where a record belongs is none."""

    def __init__(self, path: str) -> None:
        super().__init__(NAME, f"the record of {path} is damaged, or of a version that is not known here")


def parts_digest(parts: Mapping[int, Part]) -> str:
    """What tells these parts from any others."""
    digest = hashlib.sha256()
    for number, part in sorted(parts.items()):
        digest.update(f"{number} {part.size} {part.etag}\n".encode())
    return digest.hexdigest()


async def load_record(bucket: Bucket, path: str) -> StoredRecord | None:
    """The record of a path with its tail, or None. Raises DamagedRecordError."""
    piece = await bucket.read_if_there(bucket.keys.record(path), 0, None)
    if piece is None:
        return None
    record, tail = _parse(path, piece.content)
    return StoredRecord(record, tail, piece.etag, nanoseconds(piece.modified))


async def load_record_only(bucket: Bucket, path: str) -> Record | None:
    """The record of a path without its tail, or None. Raises DamagedRecordError."""
    piece = await bucket.read_if_there(bucket.keys.record(path), 0, _HEAD_BYTES - 1)
    return None if piece is None else _parse(path, piece.content)[0]


async def store_record(
    bucket: Bucket, path: str, record: Record, tail: bytes | bytearray, *, replacing: str
) -> str:
    """Put a record in the place of the one with the entity tag `replacing` (empty for none).

    Returns its entity tag. Raises ConditionError if another one, or none, is there.
    """
    head = json.dumps({"version": _VERSION, **asdict(record)}, separators=(",", ":")).encode()
    content = b"".join((head, b"\n", tail))
    return await bucket.put_once(bucket.keys.record(path), content, replacing=replacing, reported=path)


def _parse(path: str, content: bytes) -> tuple[Record, bytes]:
    head, newline, tail = content.partition(b"\n")
    try:
        fields = json.loads(head) if newline else {}
        if fields.pop("version") != _VERSION:
            raise DamagedRecordError(path)
        return Record(**fields), tail
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRecordError(path) from error
