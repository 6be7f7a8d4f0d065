"""`cloudfront`: clients fetch blobs from a CloudFront distribution of the bucket, by signed URLs.

Source: distribution's `cloudfront` middleware, and "Creating a signed URL using a canned policy" in Amazon
CloudFront's Developer Guide: RSA with SHA-1 over a policy that names the URL and the moment it expires.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import structlog
from botocore.signers import CloudFrontSigner
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from blob_service.drivers.interface import RedirectRequest, StorageDriver
from blob_service.middleware.address_ranges import AddressRanges
from blob_service.middleware.base import DriverMiddleware
from moorage.config.errors import ConfigurationError
from moorage.config.middleware import CloudFront

log = structlog.get_logger(__name__)

# A path to ask about when the middleware is made; nothing is read there.
_ANY_PATH = "/docker"


class CloudFrontMiddleware(DriverMiddleware):
    """Signed URLs of the CloudFront distribution at `baseurl`, whose origin is the driver's bucket.

    With `ipfilteredby`, clients in Amazon's own networks (`aws`), or in those of some regions (`awsregion`),
    get the driver's own URL: they are next to the bucket. Over a driver without a bucket it does nothing, as
    in distribution, and says so once.

    To be made in the event loop that uses it; raises ConfigurationError about the options below `key`.
    """

    def __init__(self, driver: StorageDriver, options: CloudFront, key: str) -> None:
        super().__init__(driver)
        self._base = options.baseurl.rstrip("/")
        self._duration = timedelta(seconds=options.duration)
        self._private_key = _read_private_key(options.privatekey, f"{key}.privatekey")
        self._signer = CloudFrontSigner(options.keypairid, self._sign)
        self._ranges: AddressRanges | None = None
        if driver.object_key(_ANY_PATH) is None:
            log.warning("cloudfront does nothing: the storage driver has no bucket", driver=driver.name)
        elif options.ipfilteredby != "none":
            regions = options.regions if options.ipfilteredby == "awsregion" else None
            self._ranges = AddressRanges(options.iprangesurl, regions=regions, every=options.update_seconds)
            self._ranges.start()

    async def redirect(self, request: RedirectRequest, path: str) -> str | None:
        """A signed URL, or what the driver says for clients that need none."""
        key = self._driver.object_key(path)
        if key is None or (self._ranges is not None and request.client_address in self._ranges):
            return await self._driver.redirect_url(request, path)
        expires = datetime.now(UTC) + self._duration
        # About a millisecond.
        url: str = self._signer.generate_presigned_url(f"{self._base}/{quote(key)}", date_less_than=expires)
        return url

    async def close(self) -> None:
        """See `StorageDriver.close`."""
        if self._ranges is not None:
            await self._ranges.stop()
        await super().close()

    def _sign(self, policy: bytes) -> bytes:
        # CloudFront takes no other hash for a canned policy.
        return self._private_key.sign(policy, PKCS1v15(), SHA1())  # noqa: S303


def _read_private_key(path: str, key: str) -> RSAPrivateKey:
    try:
        private_key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(key, f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            key, f"{path} holds no private key in PEM form without a password"
        ) from error
    if not isinstance(private_key, RSAPrivateKey):
        raise ConfigurationError(key, f"{path} holds a private key that is not RSA")
    return private_key
