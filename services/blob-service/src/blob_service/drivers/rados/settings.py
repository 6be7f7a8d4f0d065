"""The parameters of `storage.rados`, in the units in which the driver uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAME = "rados"

MIB = 1 << 20
# The least `chunksize` that the configuration takes: what is shorter is the last stripe.
MIN_CHUNK_SIZE = 64 << 10


@dataclass(frozen=True, slots=True)
class Settings:
    """What a driver is made from. Times are seconds, sizes bytes."""

    poolname: str
    # The cephx user without its `client.`; librados takes `admin` when there is none.
    username: str | None = None
    chunksize: int = 4 * MIB
    # None: the files where librados looks itself, /etc/ceph/ceph.conf first.
    conffile: str | None = None
    # RADOS' own namespaces within the pool; empty is the one that everybody uses.
    namespace: str = ""
    connecttimeout: float = 30.0
    timeout: float = 30.0
    maxinflight: int = 32
    # How long a writer that gave no sign of life keeps others from its path.
    writerlease: float = 15.0

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Settings:
        """The settings of a section of the configuration, which has checked them."""
        return cls(**parameters)
