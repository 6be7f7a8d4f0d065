"""The driver that keeps everything in a pool of a Ceph cluster, through librados."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from typing import Any

from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.interface import StorageDriver
from blob_service.drivers.rados.driver import RadosDriver
from blob_service.drivers.rados.pool import Pool
from blob_service.drivers.rados.settings import NAME, Settings
from moorage.config.errors import ConfigurationError

# Calls of the driver at once. Each may be several operations of librados, which has no bound of its own here.
_MAX_CALLS = 128


def create(parameters: Mapping[str, Any]) -> StorageDriver:
    """A RADOS driver by its section of the configuration, connected to the cluster.

    Raises ConfigurationError, which names the key, when librados is not installed, the cluster cannot be
    reached in `connecttimeout` seconds, refuses the user or has no such pool.
    """
    settings = Settings.of(parameters)
    driver = RadosDriver(_open_pool(settings), chunksize=settings.chunksize, lease=settings.writerlease)
    return BoundedDriver(driver, max_calls=_MAX_CALLS)


def _open_pool(settings: Settings) -> Pool:
    library = _librados()
    try:
        cluster = library.Rados(
            rados_id=settings.username or "admin",
            conffile=library.Rados.DEFAULT_CONF_FILES if settings.conffile is None else settings.conffile,
            conf=_client_options(settings),
        )
    except library.ObjectNotFound as error:
        raise _refused("conffile", f"cannot read {settings.conffile}") from error
    except library.Error as error:
        raise _refused("conffile", _reason(error)) from error
    try:
        cluster.connect()
    except library.Error as error:
        raise _not_connected(settings, error) from error
    try:
        context = cluster.open_ioctx(settings.poolname)
    except library.Error as error:
        cluster.shutdown()
        if error.errno == errno.ENOENT:
            raise _refused("poolname", f"the cluster has no pool {settings.poolname!r}") from error
        raise _refused("poolname", _reason(error)) from error
    context.set_namespace(settings.namespace)
    # A full pool is an error, and nothing to wait for.
    context.set_osdmap_full_try()
    return Pool(library, cluster, context, max_inflight=settings.maxinflight)


def _librados() -> Any:
    # Only who uses this driver needs it, and no package index has it.
    try:
        import rados
    except ImportError as error:
        raise ConfigurationError(
            f"storage.{NAME}",
            "the Python binding of librados is missing: install Debian's package python3-rados, and for a "
            f"virtual environment run scripts/link-rados.sh ({error})",
        ) from error
    return rados


def _client_options(settings: Settings) -> dict[str, str]:
    return {
        "client_mount_timeout": _whole_seconds(settings.connecttimeout),
        "rados_mon_op_timeout": _whole_seconds(settings.timeout),
        "rados_osd_op_timeout": _whole_seconds(settings.timeout),
        # When to ask a monitor whether a silent OSD has moved. librados asks after 10 seconds, looks every 5,
        # and forgets the silence when the operation times out: so both have to be well below that.
        "objecter_timeout": str(min(10.0, settings.timeout / 3)),
        "objecter_tick_interval": str(min(5.0, settings.timeout / 6)),
        # librados would make the event loop wait at its own bounds. Ours are calls and `maxinflight`.
        "objecter_inflight_ops": "0",
        "objecter_inflight_op_bytes": "0",
    }


def _whole_seconds(seconds: float) -> str:
    # librados takes no fraction, and 0 for no limit.
    return str(max(1, math.ceil(seconds)))


def _not_connected(settings: Settings, error: Exception) -> ConfigurationError:
    user = f"client.{settings.username or 'admin'}"
    match getattr(error, "errno", None):
        case errno.ETIMEDOUT:
            seconds = f"{settings.connecttimeout:g}"
            return ConfigurationError(f"storage.{NAME}", f"no monitor of the cluster answers in {seconds} s")
        case errno.ENOENT:
            return _refused("username", f"no key of {user} is in the keyring that the conffile names")
        case errno.EACCES | errno.EPERM:
            return _refused("username", f"the cluster does not admit {user}")
        case _:
            return ConfigurationError(f"storage.{NAME}", f"cannot connect: {_reason(error)}")


def _refused(key: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"storage.{NAME}.{key}", reason)


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    return os.strerror(code) if code else str(error)
