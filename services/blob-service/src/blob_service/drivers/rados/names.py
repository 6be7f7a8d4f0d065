"""The names of RADOS objects, and what is in their extended attributes and omaps.

The layout is that of distribution's RADOS driver (its versions 2.1 to 2.3):

- `/a/b`: the folder of that path. Its omap has a key for each name in the folder; the value is the id of the
  file's data, or empty for a folder.
- `blob:<uuid>-<n>`: stripe `n` of the data `blob:<uuid>`. All stripes but the last have the same length. The
  whole length is the extended attribute `total-size` of stripe 0: little-endian, 64 bits, padded to 10 bytes.

Beyond it there are, none of which the original looks at:

- in the omap of stripe 0, `writer` while the file is not committed, and `references` when more or other paths
  than the one under which it was written may refer to it (see `references.py`);
- in the omap of other stripes, `writer`: who wrote them (see `writer.py`);
- `lock:/a/b`, while somebody writes the file `/a/b` (see `leases.py`).
"""

from __future__ import annotations

import struct
import uuid

TOTAL_SIZE = "total-size"
WRITER = "writer"
REFERENCES = "references"

_DATA_PREFIX = "blob:"
_LEASE_PREFIX = "lock:"
_SIZE = struct.Struct("<Q2x")


def new_data_id() -> str:
    """An id for the data of a new file."""
    return f"{_DATA_PREFIX}{uuid.uuid4()}"


def stripe_name(data: str, number: int) -> str:
    """The object that holds a stripe."""
    return f"{data}-{number}"


def parse_stripe(name: str) -> tuple[str, int] | None:
    """The data id and the number of a stripe; None for the name of something else."""
    data, dash, number = name.rpartition("-")
    if not (data.startswith(_DATA_PREFIX) and dash and number.isdecimal()):
        return None
    return data, int(number)


def lease_name(path: str) -> str:
    """The object by which the one writer of a path keeps others away."""
    return f"{_LEASE_PREFIX}{path}"


def parse_lease(name: str) -> str | None:
    """The path that a lease is for; None for the name of something else."""
    return name.removeprefix(_LEASE_PREFIX) if name.startswith(f"{_LEASE_PREFIX}/") else None


def pack_size(size: int) -> bytes:
    """A length in bytes as the attribute has it."""
    return _SIZE.pack(size)


def unpack_size(value: bytes) -> int:
    """The length in bytes that the attribute says. Raises ValueError when it says none."""
    if len(value) < 8:
        raise ValueError(f"{TOTAL_SIZE} has {len(value)} bytes")
    return int.from_bytes(value[:8], "little")
