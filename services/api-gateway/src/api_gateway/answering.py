"""Routes that answer: what is the same for a row of the descriptor table and for what stands beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from api_gateway.connection import ClientDisconnectedError
from api_gateway.headers import HeaderList
from api_gateway.record import CLIENT_CLOSED_REQUEST
from api_gateway.refusal import envelope_headers
from api_gateway.request import Request
from api_gateway.urls import Origins
from moorage.errors import RegistryError
from moorage.pace import ANY_RATE, MinimumRate


@dataclass(frozen=True, slots=True)
class Exchange:
    """How requests are read, and answers written."""

    origins: Origins
    stall: float
    """Seconds that a client may neither send nor take anything in mid-body."""

    minimum: MinimumRate = ANY_RATE
    """How slowly it may do so."""


class AnsweringRoute(BaseRoute, ABC):
    """A route whose answers and refusals go through a Request."""

    name: str

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = self._exchange
        request = Request(
            scope, receive, send, origins=exchange.origins, stall=exchange.stall, minimum=exchange.minimum
        )
        request.record.route = self.name
        try:
            await self.answer(request)
        except ClientDisconnectedError:
            request.record.status = CLIENT_CLOSED_REQUEST
            request.abort()
        except RegistryError as error:
            await self._refuse(request, error)

    @abstractmethod
    async def answer(self, request: Request) -> None:
        """Answer a request, or raise RegistryError."""

    @abstractmethod
    def refusal_headers(self, request: Request, error: RegistryError) -> HeaderList:
        """What a refusal has besides the headers of its envelope."""

    async def _refuse(self, request: Request, error: RegistryError) -> None:
        request.record.error = error
        if request.response_started:
            # The status is out already. Without its end the answer cannot be taken for whole.
            request.abort()
            return
        headers = [*envelope_headers(error), *self.refusal_headers(request, error)]
        try:
            await request.respond(error.http_status, headers, error.envelope())
        except ClientDisconnectedError:
            request.record.status = CLIENT_CLOSED_REQUEST
