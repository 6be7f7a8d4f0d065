"""The client of aiobotocore, made when it is first needed, in the event loop that needs it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.awsrequest import AWSRequest
from pydantic import SecretStr

from blob_service.drivers.s3.settings import Settings

if TYPE_CHECKING:
    # Only types: the package is not there when the service runs.
    from types_aiobotocore_s3 import S3Client

# Requests at once, all calls of a driver together. Others wait for their turn, without a clock running.
REQUESTS = 200

_CONNECT_SECONDS = 5.0
# The deadlines that count are those of `Requests`; this one only ends what they would miss.
_READ_SECONDS = 900.0


class Connection:
    """The clients for one bucket: one for the calls, one whose URLs are handed to clients of the registry."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = get_session()
        self._making = asyncio.Lock()
        self._open = AsyncExitStack()
        self._client: S3Client | None = None
        self._signer: S3Client | None = None
        _load_models(self._session)

    async def client(self) -> S3Client:
        """The client for calls."""
        if self._client is None:
            async with self._making:
                if self._client is None:
                    self._client = await self._make(self._settings.regionendpoint)
        return self._client

    async def signer(self) -> S3Client:
        """The client that signs URLs for `redirectendpoint`, or else for the endpoint of the calls."""
        redirect = self._settings.redirectendpoint
        if not redirect:
            return await self.client()
        if self._signer is None:
            async with self._making:
                if self._signer is None:
                    self._signer = await self._make(redirect)
        return self._signer

    async def close(self) -> None:
        """Close the connections. A later call would make new ones."""
        async with self._making:
            self._client = self._signer = None
            await self._open.aclose()

    async def _make(self, endpoint: str | None) -> S3Client:
        settings = self._settings
        client: S3Client = await self._open.enter_async_context(
            self._session.create_client(
                "s3",
                region_name=settings.region,
                endpoint_url=settings.endpoint(endpoint),
                use_ssl=settings.secure,
                verify=not settings.skipverify,
                # None leaves it to the standard chain: environment, shared files, container, instance.
                aws_access_key_id=settings.accesskey,
                aws_secret_access_key=_revealed(settings.secretkey),
                aws_session_token=_revealed(settings.sessiontoken),
                config=_client_config(settings),
            )
        )
        if not settings.v4auth:
            client.meta.events.register("before-sign.s3", _fit_for_version_2)
        return client


def _fit_for_version_2(request: AWSRequest, **_: object) -> None:
    """Have a request go out as botocore signs it with version 2 of the signature."""
    # aiohttp would add a type to a body that has none, after the signature.
    if request.data and "Content-Type" not in request.headers:
        request.headers["Content-Type"] = "application/xml"
    # The signature is of `/bucket/`.
    parts = urlsplit(str(request.url))
    if parts.path.count("/") == 1 and parts.path != "/":
        request.url = urlunsplit(parts._replace(path=f"{parts.path}/"))


def _client_config(settings: Settings) -> AioConfig:
    return AioConfig(
        signature_version="s3v4" if settings.v4auth else "s3",
        s3={
            "addressing_style": "path" if settings.path_style else "virtual",
            "use_accelerate_endpoint": settings.accelerate,
            # Content-MD5 says what was sent. Hashing it once more for the signature would stop the loop.
            "payload_signing_enabled": False,
        },
        use_dualstack_endpoint=settings.usedualstack,
        use_fips_endpoint=settings.usefipsendpoint,
        user_agent_extra=settings.useragent,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=REQUESTS,
        # `Requests` tries again, bodies included.
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Older gateways do not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _load_models(session: AioSession) -> None:
    """Read from disk now, before anything is served, what making a client would read in the event loop."""
    loader: Any = session.get_component("data_loader")
    loader.load_service_model("s3", "service-2")
    loader.load_service_model("s3", "endpoint-rule-set-1")
    for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
        loader.load_data(name)
