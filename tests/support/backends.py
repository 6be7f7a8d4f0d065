"""A place of a test's own in each storage driver's backend, as the driver's section of `storage`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.ceph import S3Access
    from support.shared_ceph import SharedCeph


class Resources:
    """What places are made in. The cluster and its S3 endpoint start when somebody asks for them."""

    def __init__(self, folder: Path, *, ceph: Callable[[], SharedCeph], s3: Callable[[], S3Access]) -> None:
        self.folder = folder
        self.ceph = ceph
        self.s3 = s3


def _filesystem(resources: Resources) -> dict[str, Any]:
    return {"rootdirectory": str(resources.folder / "registry")}


def _inmemory(_: Resources) -> dict[str, Any]:
    return {}


def _rados(resources: Resources) -> dict[str, Any]:
    access = resources.ceph().access
    return {
        "poolname": access.pool,
        "username": access.user,
        "conffile": access.conffile,
        "namespace": f"test-{secrets.token_hex(8)}",
    }


def _s3(resources: Resources) -> dict[str, Any]:
    access = resources.s3()
    bucket = f"test-{secrets.token_hex(8)}"
    _create_bucket(access, bucket)
    return {
        "regionendpoint": access.endpoint,
        "region": access.region,
        "accesskey": access.access_key,
        "secretkey": access.secret_key,
        "bucket": bucket,
        "secure": access.endpoint.startswith("https:"),
        "forcepathstyle": True,
        # The least there is, so that a layer of some megabytes is several parts.
        "chunksize": 5 << 20,
    }


def _create_bucket(access: S3Access, bucket: str) -> None:
    import botocore.session

    client = botocore.session.get_session().create_client(
        "s3",
        region_name=access.region,
        endpoint_url=access.endpoint,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
    )
    client.create_bucket(Bucket=bucket)
    client.close()


_BACKENDS: Mapping[str, Callable[[Resources], dict[str, Any]]] = {
    "filesystem": _filesystem,
    "inmemory": _inmemory,
    "rados": _rados,
    "s3": _s3,
    "s3aws": _s3,
}


def place(driver: str, resources: Resources) -> dict[str, Any]:
    """The driver's section of `storage`, for an empty place; fails for a driver that has none here yet."""
    assert driver in _BACKENDS, f"tests/support/backends.py has no place for the driver {driver!r}"
    return _BACKENDS[driver](resources)
