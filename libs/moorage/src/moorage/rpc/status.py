"""RegistryError to gRPC status and back: the details of google.rpc.Status carry the V2 code and its detail.

Source: google.rpc.Status; gRPC, "Richer error model" (trailing metadata `grpc-status-details-bin`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2
from google.rpc import status_pb2

from moorage.errors import ErrorCode, ErrorEntry, RegistryError
from moorage.v1 import common_pb2

DETAILS_KEY = "grpc-status-details-bin"

_GRPC_CODES = {
    ErrorCode.UNKNOWN: grpc.StatusCode.INTERNAL,
    ErrorCode.UNSUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorCode.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.TOOMANYREQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.RANGE_INVALID: grpc.StatusCode.OUT_OF_RANGE,
}
_FROM_GRPC = {
    grpc.StatusCode.UNAVAILABLE: "the service is not reachable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "the service did not answer in time",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "the service is out of a resource",
}


def grpc_code(code: ErrorCode) -> grpc.StatusCode:
    """The gRPC status code under which a V2 code travels."""
    if code in _GRPC_CODES:
        return _GRPC_CODES[code]
    if code.http_status == 404:
        return grpc.StatusCode.NOT_FOUND
    return grpc.StatusCode.INVALID_ARGUMENT


def error_details(error: RegistryError) -> list[common_pb2.ErrorDetail]:
    """An error's entries as they travel."""
    details = []
    for entry in error.entries:
        detail = common_pb2.ErrorDetail(
            code=entry.code.name, message=entry.message, http_status=entry.http_status
        )
        if entry.detail is not None:
            detail.detail_json = json.dumps(entry.detail)
        details.append(detail)
    return details


def error_of(details: Iterable[common_pb2.ErrorDetail]) -> RegistryError:
    """The error that these entries are; UNKNOWN when none of them has a known code."""
    entries = [
        ErrorEntry(
            ErrorCode[detail.code],
            json.loads(detail.detail_json) if detail.detail_json else None,
            detail.message,
            detail.http_status,
        )
        for detail in details
        if detail.code in ErrorCode.__members__
    ]
    return RegistryError.of(entries) if entries else RegistryError(ErrorCode.UNKNOWN)


def pack(error: RegistryError) -> bytes:
    """The serialized google.rpc.Status of an error."""
    status = status_pb2.Status(code=grpc_code(error.code).value[0], message=str(error)[:1024])
    for detail in error_details(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    serialized: bytes = status.SerializeToString()
    return serialized


def has_details(error: grpc.aio.AioRpcError) -> bool:
    """Whether the service gave its status the details of a RegistryError."""
    return _details(error) is not None


def unpack(error: grpc.aio.AioRpcError) -> RegistryError:
    """The RegistryError behind a failed call: the typed one, or UNAVAILABLE or UNKNOWN for a bare status."""
    details = _details(error)
    entries = _unpacked(details) if details is not None else []
    if entries:
        return error_of(entries)
    reason = _FROM_GRPC.get(error.code())
    if reason is not None:
        return RegistryError(ErrorCode.UNAVAILABLE, reason)
    return RegistryError(ErrorCode.UNKNOWN)


def _details(error: grpc.aio.AioRpcError) -> bytes | None:
    # grpcio yields plain pairs; its stubs do not say so.
    metadata: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            return value
    return None


def _unpacked(serialized: bytes) -> list[common_pb2.ErrorDetail]:
    status = status_pb2.Status.FromString(serialized)
    details = []
    for packed in status.details:
        detail = common_pb2.ErrorDetail()
        if packed.Unpack(detail) and detail.code in ErrorCode.__members__:
            details.append(detail)
    return details
