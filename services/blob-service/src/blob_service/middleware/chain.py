"""Puts the configured middleware around a driver."""

from __future__ import annotations

from collections.abc import Sequence

from blob_service.drivers.interface import StorageDriver
from blob_service.middleware.redirect import RedirectMiddleware
from blob_service.middleware.rewrite import RewriteMiddleware
from moorage.config.middleware import CloudFront, RedirectTo, Rewrite, StorageMiddleware


def wrap(driver: StorageDriver, entries: Sequence[StorageMiddleware]) -> StorageDriver:
    """The driver with each entry that is not disabled around it, the first one innermost.

    So a later entry sees, and may replace, the URLs of an earlier one. To be called in the event loop that
    uses the driver. Raises ConfigurationError about `middleware.storage`.
    """
    for index, entry in enumerate(entries):
        if entry.disabled:
            continue
        match entry.settings:
            case CloudFront() as options:
                # Its libraries cost a quarter of a second and some megabytes.
                from blob_service.middleware.cloudfront import CloudFrontMiddleware

                driver = CloudFrontMiddleware(driver, options, f"middleware.storage[{index}].options")
            case RedirectTo() as options:
                driver = RedirectMiddleware(driver, options)
            case Rewrite() as options:
                driver = RewriteMiddleware(driver, options)
            case options:
                raise TypeError(f"no middleware has options of {type(options)}")
    return driver
