"""Calls to another service: one channel each, a deadline and the request id on every call, typed errors."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import grpc

from moorage import context, tracing
from moorage.config.values import join_host_port
from moorage.context import REQUEST_ID_KEY
from moorage.rpc.address import Address
from moorage.rpc.discovery import Ask, NamedTarget, resolve
from moorage.rpc.renewing import RenewingChannel
from moorage.rpc.security import Security, identity
from moorage.rpc.status import unpack

# A manifest of 4 MiB and its envelope fit; bulk bytes travel in messages of at most 1 MiB.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# An error's entries come back in the trailing metadata; gRPC's own limit (8 KiB) holds a few dozen of them.
MAX_METADATA_BYTES = 256 * 1024

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two services on one host must not share a subchannel's fate.
    ("grpc.use_local_subchannel_pool", 1),
    # A name that resolves to several instances is balanced between them.
    ("grpc.lb_policy_name", "round_robin"),
)

Channel = grpc.aio.Channel

_Request = TypeVar("_Request", contravariant=True)
_Response = TypeVar("_Response", covariant=True)


class UnaryMethod(Protocol[_Request, _Response]):
    """A unary method of a generated stub."""

    def __call__(
        self,
        request: _Request,
        /,
        *,
        timeout: float | None = None,
        metadata: tuple[tuple[str, str], ...] | None = None,
        wait_for_ready: bool | None = None,
    ) -> Awaitable[_Response]:
        """Call it; awaiting the call raises grpc.aio.AioRpcError."""
        ...


def open_channel(
    address: Address, security: Security | None = None, *, to: str = "", ask: Ask = resolve
) -> Channel:
    """A channel to a service. It connects on first use and reconnects by itself; close it when done.

    Over TCP, with `security`, it is encrypted, and only the service that is named by `to` is taken for it. A
    name in DNS, which `ask` looks up, is followed.
    """
    named = NamedTarget(address, ask) if address.discovered else None
    encrypted = security if address.path is None else None
    if named is None and encrypted is None:
        return grpc.aio.insecure_channel(address.target, options=channel_options(address))

    def make() -> Channel:
        target = named.target() if named else address.target
        if encrypted is None:
            return grpc.aio.insecure_channel(target, options=channel_options(address))
        # What is called is the name in the certificate, under whatever name the address was found.
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", identity(to)))
        return grpc.aio.secure_channel(target, encrypted.channel_credentials(), options=options)

    def generation() -> Hashable:
        return named and named.target(), encrypted and encrypted.generation

    return RenewingChannel(make, generation, named)


def channel_options(address: Address) -> tuple[tuple[str, int | str], ...]:
    """The options of a channel: an address that was found under a name is called by that name."""
    name = address.host if address.discovered else address.name
    if not name:
        return CHANNEL_OPTIONS
    return (*CHANNEL_OPTIONS, ("grpc.default_authority", join_host_port(name, address.port)))


def call_metadata() -> tuple[tuple[str, str], ...]:
    """What each call carries: the id of the request that it serves, and its trace while tracing is on."""
    if context.has_more_than_an_id():
        return tuple(context.outgoing().items())
    current = context.request_id.get()
    return ((REQUEST_ID_KEY, current),) if current else ()


@contextmanager
def rpc_errors() -> Iterator[None]:
    """Turn a failed call's status into the RegistryError that it carries."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise unpack(error) from error


async def unary(method: UnaryMethod[_Request, _Response], request: _Request, *, timeout: float) -> _Response:
    """Call a unary method with a deadline in seconds.

    Raises RegistryError: what the service answered, or UNAVAILABLE when it did not.
    """
    if tracing.is_on():
        return await _traced(method, request, timeout=timeout)
    with rpc_errors():
        return await method(request, timeout=timeout, metadata=call_metadata())


async def _traced(
    method: UnaryMethod[_Request, _Response], request: _Request, *, timeout: float
) -> _Response:
    with tracing.client_span(method_name(method), {"rpc.system": "grpc"}), rpc_errors():
        return await method(request, timeout=timeout, metadata=call_metadata())


def method_name(method: object) -> str:
    """A stub's method as spans are called: `moorage.v1.Metadata/Resolve`."""
    # Generated stubs do not say it in another way.
    name = getattr(method, "_method", b"")
    return (name.decode("ascii") if isinstance(name, bytes) else str(name)).lstrip("/") or "call"
