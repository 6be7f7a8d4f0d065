"""The data channel: the blob service moves the bytes itself, over the client's connection.

On one host it gets the connection (`lending`); between hosts its bytes are spliced (`splicing`). Where
neither can be had, ChannelUnavailableError is raised before anything was touched, and gRPC is left.
"""

from __future__ import annotations

import sys

from api_gateway.clients.channel.interface import ChannelUnavailableError, DataChannel, NoChannel
from api_gateway.clients.channel.lending import LendingChannel
from api_gateway.clients.channel.splicing import SplicingChannel
from moorage.channel import data_socket
from moorage.config.services import Services
from moorage.rpc import Address, Security
from moorage.v1 import blob_pb2_grpc

__all__ = ["ChannelUnavailableError", "DataChannel", "open_data_channel"]

# Seconds of silence after which a blob service that works on a loan counts as gone: several times the
# interval in which it says that it still works (blob.proto, `Working`).
_SILENCE = 30.0


def open_data_channel(
    address: Address,
    store: blob_pb2_grpc.BlobStoreAsyncStub,
    services: Services,
    security: Security | None = None,
) -> DataChannel:
    """The way to move bytes to and from the blob service at an address. Nothing is connected yet."""
    if services.blob.channel == "off" or sys.platform != "linux":
        return NoChannel()
    path = data_socket(address)
    if path is not None:
        return LendingChannel(path, silence=_SILENCE)
    if address.path is None and services.blob.dataport:
        return SplicingChannel(
            address.host, store, timeout=services.timeout, stall=services.blobtimeout, security=security
        )
    return NoChannel()
