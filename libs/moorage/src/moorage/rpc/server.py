"""A gRPC server with what every Moorage service has: health, reflection, request ids, typed errors."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import structlog
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import Counter, Histogram

from moorage import context, tracing
from moorage.context import REQUEST_ID_KEY
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc.address import Address
from moorage.rpc.client import MAX_MESSAGE_BYTES
from moorage.rpc.health import LIVENESS
from moorage.rpc.security import CALLERS, ForbiddenCallError, Security, check_caller
from moorage.rpc.status import DETAILS_KEY, grpc_code, pack

log = structlog.get_logger("moorage.rpc")

CALLS = Counter("moorage_rpc_calls_total", "Calls that a service answered.", ["method", "code"])
DURATION = Histogram("moorage_rpc_duration_seconds", "How long a call took.", ["method"])

_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A second process must not silently share a port.
    ("grpc.so_reuseport", 0),
)

# The call's servicer context; grpcio types it differently in each handler shape.
_Context = Any
_Handler = Any

# What came with a call, for its span; None while tracing is off.
_Carrier = dict[str, str] | None


class RpcServer:
    """One gRPC server at one address.

    Register servicers with `add`, then `start`; `serving(True)` once the service can do its work. With
    `security`, calls over TCP are encrypted, and each is taken only from who may make it.
    """

    def __init__(self, address: Address, security: Security | None = None) -> None:
        self._address = address
        self._security = security if address.path is None else None
        interceptor = _CallInterceptor(authenticated=self._security is not None)
        self._server = grpc.aio.server(interceptors=(interceptor,), options=_OPTIONS)
        self._health = health_aio.HealthServicer()
        self._is_serving = False
        self._parts: dict[str, bool] = {}
        self._names = [health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def add(self, full_name: str, register: Callable[[grpc.aio.Server], None]) -> None:
        """Add a servicer: its full name ("moorage.v1.BlobStore") and the generated function, bound to it."""
        if self._security is not None and full_name not in CALLERS:
            raise ValueError(f"rpc.security does not say who may call {full_name}")
        self._names.append(full_name)
        register(self._server)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        reflection.enable_server_reflection(self._names, self._server)
        path = self._address.path
        if path is not None:
            prepare_socket(path)
        try:
            if self._security is None:
                bound = self._server.add_insecure_port(self._address.listen_target)
            else:
                bound = self._server.add_secure_port(
                    self._address.listen_target, self._security.server_credentials()
                )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        if bound == 0:
            raise OSError(f"cannot listen on {self._address}")
        await self._server.start()
        if path is not None:
            os.chmod(path, 0o600)
        await self.serving(False)
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)

    async def serving(self, value: bool) -> None:
        """Tell the standard health service whether this service can do its work."""
        self._is_serving = value
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if value else states.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, state)

    async def report(self, part: str, well: bool) -> None:
        """Tell the standard health service of a part that the service can do its work without."""
        self._parts[part] = well
        states = health_pb2.HealthCheckResponse
        await self._health.set(part, states.SERVING if well else states.NOT_SERVING)

    @property
    def is_serving(self) -> bool:
        """What `serving` was told last."""
        return self._is_serving

    @property
    def degraded(self) -> list[str]:
        """The parts that are not well."""
        return sorted(part for part, well in self._parts.items() if not well)

    async def stop(self, grace: float) -> None:
        """Stop accepting, let calls under way end within `grace` seconds, then cancel them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        if self._address.path is not None:
            self._address.path.unlink(missing_ok=True)


def prepare_socket(path: os.PathLike[str]) -> None:
    """Make the socket's folder, ours alone, and remove what a crashed process left there."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700)
    if os.path.lexists(path):
        if not _is_socket(path):
            raise OSError(f"{os.fspath(path)} is in the way: it is not a socket")
        os.unlink(path)


def _is_socket(path: os.PathLike[str]) -> bool:
    return stat.S_ISSOCK(os.lstat(path).st_mode)


class _CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Around every call: who makes it, the request id, a metric, a debug line, errors as typed statuses."""

    def __init__(self, *, authenticated: bool) -> None:
        self._authenticated = authenticated

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        handler: _Handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith("/grpc."):
            return handler
        method = handler_call_details.method
        metadata = handler_call_details.invocation_metadata
        request_id = _request_id(metadata)
        carrier = _carrier(metadata) if tracing.is_on() else None
        serializers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            streaming = handler.stream_stream or handler.unary_stream
            wrap = _around_stream(streaming, method, request_id, carrier, self._authenticated)
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(wrap, **serializers)
        single = handler.stream_unary or handler.unary_unary
        make_single = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        wrap_single = _around_single(single, method, request_id, carrier, self._authenticated)
        return make_single(wrap_single, **serializers)


def _request_id(metadata: Sequence[tuple[str, str | bytes]] | None) -> str:
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and isinstance(value, str):
            return context.accept_request_id(value)
    return context.new_request_id()


def _carrier(metadata: Sequence[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def _around_single(handler: Any, method: str, request_id: str, carrier: _Carrier, authenticated: bool) -> Any:
    async def call(request: Any, servicer_context: _Context) -> Any:
        async with _Call(method, request_id, servicer_context, carrier):
            if authenticated:
                check_caller(method, servicer_context.auth_context())
            return await handler(request, servicer_context)

    return call


def _around_stream(handler: Any, method: str, request_id: str, carrier: _Carrier, authenticated: bool) -> Any:
    async def call(request: Any, servicer_context: _Context) -> AsyncIterator[Any]:
        async with _Call(method, request_id, servicer_context, carrier):
            if authenticated:
                check_caller(method, servicer_context.auth_context())
            async for response in handler(request, servicer_context):
                yield response

    return call


class _Call:
    """One call under way."""

    def __init__(
        self, method: str, request_id: str, servicer_context: _Context, carrier: _Carrier = None
    ) -> None:
        self._carrier = carrier
        self._span: Any = None
        self._method = method
        self._request_id = request_id
        self._context = servicer_context
        self._started = 0.0

    async def __aenter__(self) -> None:
        self._started = time.perf_counter()
        context.request_id.set(self._request_id)
        if self._carrier is not None:
            attributes = {"rpc.system": "grpc", "moorage.request.id": self._request_id}
            self._span = tracing.enter_server_span(self._method.lstrip("/"), self._carrier, attributes)

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        elapsed = time.perf_counter() - self._started
        code = _code_of(error)
        CALLS.labels(self._method, code.name).inc()
        DURATION.labels(self._method).observe(elapsed)
        fields = {"http.request.id": self._request_id, "method": self._method, "code": code.name}
        log.debug("call", **fields, duration=round(elapsed, 6))
        if self._span is not None:
            broken = error if code is grpc.StatusCode.INTERNAL else None
            tracing.leave_server_span(self._span, broken, {"rpc.grpc.status_code": int(code.value[0])})
        if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit | grpc.aio.AbortError):
            return
        if isinstance(error, ForbiddenCallError):
            # Without the details of an error of the registry: it is not the client's request that is wrong.
            await self._context.abort(code, str(error))
        if not isinstance(error, RegistryError):
            log.critical("unexpected error in a call", **fields, exc_info=error)
            error = RegistryError(ErrorCode.UNKNOWN)
        await self._context.abort(code, str(error)[:1024], trailing_metadata=((DETAILS_KEY, pack(error)),))


def _code_of(error: BaseException | None) -> grpc.StatusCode:
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, RegistryError):
        return grpc_code(error.code)
    if isinstance(error, ForbiddenCallError):
        return grpc.StatusCode.PERMISSION_DENIED
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.INTERNAL
