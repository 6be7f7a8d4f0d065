"""gRPC as Moorage uses it: addresses, channels, servers, and errors that carry the V2 code."""

from moorage.rpc.address import Address, InvalidAddressError
from moorage.rpc.client import Channel, open_channel, rpc_errors, unary
from moorage.rpc.health import wait_until_serving
from moorage.rpc.security import Security, kept_up_to_date
from moorage.rpc.server import RpcServer
from moorage.rpc.status import error_details, error_of
from moorage.rpc.streams import send_stream

__all__ = [
    "Address",
    "Channel",
    "InvalidAddressError",
    "RpcServer",
    "Security",
    "error_details",
    "error_of",
    "kept_up_to_date",
    "open_channel",
    "rpc_errors",
    "send_stream",
    "unary",
    "wait_until_serving",
]
