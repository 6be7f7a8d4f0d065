"""From the configuration to a cache in Redis. Nothing is connected before the first call."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio import Redis as Client
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metadata_service.cache.redis.commands import ClusterCommands, Commands, ServerCommands
from metadata_service.cache.redis.connections import (
    LimitedConnection,
    LimitedPool,
    LimitedSentinelConnection,
    LimitedSentinelPool,
    LimitedSentinelTLSConnection,
    LimitedTLSConnection,
)
from metadata_service.cache.redis.descriptors import RedisDescriptorCache
from metadata_service.cache.redis.limits import Limits
from moorage.config import ConfigurationError, split_host_port
from moorage.config.redis import Redis, RedisTLS


def open_redis_cache(config: Redis) -> RedisDescriptorCache:
    """The cache that the section `redis` asks for.

    Raises ConfigurationError when a file of `redis.tls` cannot be used.
    """
    limits = Limits.of(config)
    context = tls_context(config.tls) if config.tls.is_on else None
    match config.mode:
        case "single":
            commands: Commands = _server(config, limits, context)
        case "sentinel":
            commands = _sentinel(config, limits, context)
        case "cluster":
            commands = _cluster(config, limits, context)
    return RedisDescriptorCache(commands)


def tls_context(tls: RedisTLS) -> ssl.SSLContext:
    """What `redis.tls` asks for; raises ConfigurationError for a file that cannot be used."""
    # The certificate must be for the host, and the system's authorities count only where none is given.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for key, files in (("clientcas", tls.clientcas), ("rootcas", tls.rootcas)):
        for number, file in enumerate(files):
            try:
                context.load_verify_locations(cadata=Path(file).read_text(encoding="ascii"))
            except (OSError, ValueError) as error:
                raise _unusable(f"redis.tls.{key}[{number}]", error) from error
    if not tls.authorities:
        context.load_default_certs()
    if tls.certificate:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except (OSError, ValueError) as error:
            raise _unusable("redis.tls.certificate", error) from error
    return context


def _unusable(key: str, error: OSError | ValueError) -> ConfigurationError:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return ConfigurationError(key, f"cannot be read: {error.strerror}")
    if key.endswith("certificate"):
        return ConfigurationError(key, "is not, together with redis.tls.key, a PEM certificate with its key")
    return ConfigurationError(key, "holds no PEM certificates")


def _server(config: Redis, limits: Limits, context: ssl.SSLContext | None) -> Commands:
    host, port = _split(config.addresses[0])
    pool = LimitedPool(
        most_idle=limits.idle_connections,
        max_connections=limits.connections,
        connection_class=LimitedTLSConnection if context else LimitedConnection,
        host=host,
        port=port,
        retry=_retry(limits),
        **_options(config, limits, context),
    )
    return ServerCommands(pool, limits, least_idle=config.minidleconns)


def _sentinel(config: Redis, limits: Limits, context: ssl.SSLContext | None) -> Commands:
    sentinel = Sentinel([])
    login = _login(config.sentinelusername, config.sentinelpassword)
    sentinel.sentinels = [
        _client_of_sentinel(*_split(address), login, limits, context) for address in config.addresses
    ]
    pool = LimitedSentinelPool(
        most_idle=limits.idle_connections,
        service_name=config.mastername,
        sentinel_manager=sentinel,
        max_connections=limits.connections,
        connection_class=LimitedSentinelTLSConnection if context else LimitedSentinelConnection,
        retry=_retry(limits),
        **_options(config, limits, context),
    )
    return ServerCommands(pool, limits, least_idle=config.minidleconns, sentinel=sentinel)


def _client_of_sentinel(
    host: str, port: int, login: dict[str, Any], limits: Limits, context: ssl.SSLContext | None
) -> Client:
    pool = ConnectionPool(
        connection_class=LimitedTLSConnection if context else LimitedConnection,
        host=host,
        port=port,
        limits=limits,
        protocol=2,
        # The next sentinel is asked instead.
        retry=Retry(NoBackoff(), 0),
        **login,
        **_context_option(context),
    )
    return Client.from_pool(pool)


def _cluster(config: Redis, limits: Limits, context: ssl.SSLContext | None) -> Commands:
    options = _options(config, limits, context)
    # What RedisCluster does not take but hands to each connection that it makes.
    own: dict[str, Any] = {"limits": options.pop("limits"), **_context_option(context)}
    options.pop("context", None)
    del options["db"]
    connection_class = LimitedTLSConnection if context else LimitedConnection
    cluster = RedisCluster(
        startup_nodes=[ClusterNode(*_split(address)) for address in config.addresses],
        max_connections=limits.connections,
        retry=_retry(limits),
        **options,
    )
    cluster.connection_kwargs.update(own, connection_class=connection_class)
    for node in cluster.startup_nodes:
        node.connection_class = connection_class
        node.connection_kwargs.update(own)
    # So many attempts in all.
    cluster.RedisClusterRequestTTL = config.maxredirects + 1
    return ClusterCommands(cluster, limits)


def _options(config: Redis, limits: Limits, context: ssl.SSLContext | None) -> dict[str, Any]:
    """What every connection to a server has."""
    return {
        "limits": limits,
        "db": config.db,
        "protocol": int(config.protocol),
        "client_name": config.clientname or None,
        "driver_info": _identity(config),
        **_login(config.username, config.password),
        **_context_option(context),
    }


def _context_option(context: ssl.SSLContext | None) -> dict[str, Any]:
    return {} if context is None else {"context": context}


def _login(username: str, password: SecretStr | None) -> dict[str, Any]:
    login: dict[str, Any] = {"username": username} if username else {}
    return login if password is None else {**login, "password": password.get_secret_value()}


def _identity(config: Redis) -> DriverInfo | None:
    if config.disableidentity or config.disableindentity:
        return None
    return DriverInfo(name="-".join(filter(None, ("moorage", config.identitysuffix))))


def _retry(limits: Limits) -> Retry:
    return Retry(
        ExponentialBackoff(cap=limits.max_backoff, base=limits.min_backoff),
        limits.retries,
        supported_errors=(RedisConnectionError, RedisTimeoutError),
    )


def _split(address: str) -> tuple[str, int]:
    host, port = split_host_port(address)
    return host or "localhost", port
