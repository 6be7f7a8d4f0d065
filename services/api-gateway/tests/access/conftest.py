"""Requests as controllers see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api_gateway.record import RECORD_KEY, RequestRecord
from api_gateway.request import Request
from api_gateway.urls import Origins
from support.clock import Clock

RequestWith = Callable[..., Request]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def request_with() -> RequestWith:
    """Makes a request with these header fields, from this address."""

    def make(*headers: tuple[str, str], client: str = "192.0.2.1") -> Request:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("a controller answers nothing")

        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "query_string": b"",
            "extensions": {},
            RECORD_KEY: RequestRecord(peer=client, client=client),
        }
        origins = Origins(host=None, relative=True, prefix="/", trusts=lambda peer: False)
        return Request(scope, receive, send, origins=origins, stall=5)

    return make
