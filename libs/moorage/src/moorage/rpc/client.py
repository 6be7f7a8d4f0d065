"""Calls to another service: one channel each, a deadline and the request id on every call, typed errors."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import grpc

from moorage import context
from moorage.rpc.address import Address
from moorage.rpc.status import unpack

REQUEST_ID_KEY = "x-request-id"

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
    # A service that comes back may have another address (a container, a pod); gRPC's own is 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
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


def open_channel(address: Address) -> Channel:
    """A channel to a service. It connects on first use and reconnects by itself; close it when done."""
    return grpc.aio.insecure_channel(address.target, options=channel_options(address))


def channel_options(address: Address) -> tuple[tuple[str, int | str], ...]:
    """The options of a channel: an address that was found under a name is called by that name."""
    if not address.name:
        return CHANNEL_OPTIONS
    return (*CHANNEL_OPTIONS, ("grpc.default_authority", f"{address.name}:{address.port}"))


def call_metadata() -> tuple[tuple[str, str], ...]:
    """What each call carries: the id of the request that it serves."""
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
    with rpc_errors():
        return await method(request, timeout=timeout, metadata=call_metadata())
