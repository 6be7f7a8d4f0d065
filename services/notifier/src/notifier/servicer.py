"""The gRPC service `moorage.v1.Notifier`."""

from __future__ import annotations

import grpc

from moorage.events.broker import Broker
from moorage.events.subjects import STREAM
from moorage.v1 import event_pb2, event_pb2_grpc


class NotifierServicer(event_pb2_grpc.NotifierServicer):
    """What the notifier tells the other services."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def StreamStatus(  # noqa: N802  the contract's name
        self,
        request: event_pb2.StreamStatusRequest,
        context: grpc.aio.ServicerContext[event_pb2.StreamStatusRequest, event_pb2.StreamStatusResponse],
    ) -> event_pb2.StreamStatusResponse:
        """What the stream holds; UNAVAILABLE while the broker is not there."""
        info = await self._broker.stream_info()
        return event_pb2.StreamStatusResponse(
            stream=STREAM,
            messages=info.state.messages,
            bytes=info.state.bytes,
            server=str(self._broker.url),
        )
