"""What surrounds every request, layer by layer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from api_gateway.connection import ABORT
from api_gateway.health import HealthState
from api_gateway.middleware import CommonHeaders, Gate, LastResort, Recording
from api_gateway.record import RECORD_KEY, RequestRecord
from moorage import context
from moorage.errors import ErrorCode, RegistryError


class Exchange:
    """One request through a layer, and what came out of it."""

    def __init__(self, *headers: tuple[str, str], client: tuple[str, int] | None = ("10.0.0.1", 1)) -> None:
        self.aborted = False
        self.sent: list[dict[str, Any]] = []
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/v2/",
            "raw_path": b"/v2/",
            "query_string": b"",
            "http_version": "1.1",
            "client": client,
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "extensions": {ABORT: self.abort},
            RECORD_KEY: RequestRecord(peer="", client=""),
        }

    def abort(self) -> None:
        self.aborted = True

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def through(self, layer: Any) -> Exchange:
        await layer(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return json.loads(b"".join(message.get("body", b"") for message in self.sent[1:]))["errors"]


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": b"fine"})


async def test_what_nobody_expected_is_logged_and_answered_without_its_text() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("secret: /srv/data")

    with structlog.testing.capture_logs() as lines:
        exchange = await Exchange().through(LastResort(broken))
    assert (exchange.status, exchange.errors[0]["code"]) == (500, "UNKNOWN")
    assert "secret" not in str(exchange.sent)
    assert [line for line in lines if line["event"] == "unexpected error in a request" and line["exc_info"]]


async def test_an_answer_that_breaks_after_its_head_is_reset() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    exchange = await Exchange().through(LastResort(broken))
    assert exchange.aborted
    assert len(exchange.sent) == 1


async def test_a_refusal_from_outside_the_routes_is_answered_with_its_envelope() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        raise RegistryError(ErrorCode.UNAVAILABLE, "why")

    exchange = await Exchange().through(LastResort(refusing))
    assert (exchange.status, exchange.errors[0]["detail"]) == (503, "why")
    assert (b"retry-after", b"1") in exchange.sent[0]["headers"]


async def test_common_headers_stand_before_an_answers_own() -> None:
    layer = CommonHeaders(fine, headers={"X-Several": ("one", "two")})
    exchange = await Exchange().through(layer)
    assert exchange.sent[0]["headers"] == [
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"x-several", b"one"),
        (b"x-several", b"two"),
        (b"x", b"y"),
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("id-of-the-proxy", True), ("a\"b' c", False), ("x" * 200, False), ("", False)],
)
async def test_a_trusted_proxy_may_name_the_request_if_its_name_is_harmless(given: str, kept: bool) -> None:
    seen = await request_id_of(Exchange(("x-request-id", given)), trusted=True)
    assert (seen == given) is kept
    assert seen


async def test_a_stranger_may_not_name_the_request() -> None:
    assert await request_id_of(Exchange(("x-request-id", "mine")), trusted=False) != "mine"


async def test_each_request_has_an_id_of_its_own() -> None:
    assert await request_id_of(Exchange(), trusted=True) != await request_id_of(Exchange(), trusted=True)


async def request_id_of(exchange: Exchange, *, trusted: bool) -> str:
    seen: list[str] = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context.request_id.get())
        await fine(scope, receive, send)

    await exchange.through(Recording(noting, trusts=lambda peer: trusted, unix=False, access_log=None))
    return seen[0]


@pytest.mark.parametrize(("unix", "peer"), [(True, None), (False, "")])
async def test_only_on_a_unix_socket_a_peer_without_address_is_a_local_one(
    unix: bool, peer: str | None
) -> None:
    exchange = Exchange(client=None)
    await exchange.through(Recording(fine, trusts=lambda peer: peer is None, unix=unix, access_log=None))
    assert exchange.scope[RECORD_KEY].peer == peer


async def test_the_gate_is_shut_while_a_check_fails() -> None:
    health = HealthState()
    gate = Gate(fine, health=health)
    assert (await Exchange(("host", "h")).through(gate)).status == 200
    health.fail("it", "broken")
    with pytest.raises(RegistryError) as caught:
        await Exchange(("host", "h")).through(gate)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    health.recover("it")
    assert (await Exchange(("host", "h")).through(gate)).status == 200
