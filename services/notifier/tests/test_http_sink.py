"""One attempt at a time, over real connections to subscribers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from moorage.config.endpoints import Endpoint
from moorage.events import Event, Source, Target
from notifier.connections import tls_context
from notifier.http_sink import HTTPSink
from notifier.outcome import Outcome
from support.processes import peak_memory, reset_peak_memory
from support.subscriber import Behaviour, Request, answer, subscribing

EVENT = Event(
    id="0e6e3a4c-5c3b-4a6c-9c55-0c6a8f0f4a01",
    timestamp=1_700_000_000_123_000_000,
    action="push",
    target=Target(repository="team/app", media_type="a/b", digest="sha256:" + "0" * 64, size=3, tag="latest"),
    source=Source("registry.example:5000", "instance"),
)


@asynccontextmanager
async def sink(url: str, *, allow_private: bool = True, **fields: Any) -> AsyncIterator[HTTPSink]:
    endpoint = Endpoint.model_validate({"name": "hook", "url": url, **fields})
    context = tls_context(endpoint.tls, "tls")
    async with HTTPSink(endpoint, allow_private=allow_private, tls=context) as made:
        yield made


async def outcome_of(behave: Behaviour, **fields: Any) -> tuple[Outcome, float]:
    """How one attempt ends with such a subscriber, and after how many seconds."""
    async with subscribing() as subscriber, sink(subscriber.url, **fields) as hook:
        subscriber.behave = behave
        started = time.monotonic()
        outcome = await hook.send([EVENT])
        return outcome, time.monotonic() - started


@pytest.mark.parametrize("status", [200, 202, 204, 299, 301, 302, 304, 399])
async def test_2xx_and_3xx_are_success(status: int) -> None:
    outcome, _ = await outcome_of(answer(status))
    assert outcome.succeeded
    assert outcome.code.startswith(f"{status} ")


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
async def test_everything_else_is_failure(status: int) -> None:
    outcome, _ = await outcome_of(answer(status))
    assert (outcome.status, outcome.succeeded) == (status, False)


async def tarpit(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def trickle(_: Request, writer: asyncio.StreamWriter) -> None:
    """A head that never ends, a byte at a time."""
    for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nX: y\r\n"[-6:]):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_headers(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        writer.write(f"X-{number}: {'y' * 100}\r\n".encode())
        await writer.drain()


async def endless_line(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"y" * 65536)
        await writer.drain()


async def endless_interim(_: Request, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
        await writer.drain()


async def reset_in_the_head(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 O")
    await writer.drain()
    writer.transport.abort()


async def no_http(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "behave",
    [
        tarpit,
        trickle,
        endless_headers,
        endless_line,
        endless_interim,
        reset_in_the_head,
        no_http,
    ],
)
async def test_an_answer_without_an_end_is_a_failure_in_bounded_time_and_memory(behave: Behaviour) -> None:
    reset_peak_memory(os.getpid())
    before = peak_memory(os.getpid())
    outcome, seconds = await outcome_of(behave, timeout="500ms")
    assert (outcome.status, outcome.succeeded) == (None, False)
    assert outcome.reason
    assert seconds < 5, "many times its deadline, on a machine that is busy with other things"
    assert peak_memory(os.getpid()) - before < 64 * 2**20


async def slow_body(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_body(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def reset_in_the_body(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
    await writer.drain()
    writer.transport.abort()


@pytest.mark.parametrize("behave", [slow_body, endless_body, reset_in_the_body])
async def test_an_answer_counts_once_its_head_is_there_whatever_its_body_does(behave: Behaviour) -> None:
    outcome, seconds = await outcome_of(behave, timeout="500ms")
    assert outcome.succeeded
    assert seconds < 5


async def test_a_connection_is_used_again() -> None:
    async with subscribing() as subscriber, sink(subscriber.url) as hook:
        subscriber.behave = answer(200, b"thank you" * 100)
        for _ in range(5):
            assert (await hook.send([EVENT])).succeeded
        assert subscriber.connections == 1


async def test_nobody_there_is_a_failure_that_says_so() -> None:
    async with subscribing() as subscriber:
        url = subscriber.url
    async with sink(url) as hook:
        outcome = await hook.send([EVENT])
    assert outcome.status is None
    assert "cannot connect" in outcome.reason


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/",
        "http://10.0.0.1/",
        "http://0.0.0.0:1/",
        "http://[::1]:1/",
        "http://[::]:1/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://[64:ff9b::7f00:1]:1/",
        "http://224.0.0.1/",
        "http://localhost:1/",
        f"http://{socket.gethostname()}:1/",
    ],
)
async def test_an_address_that_is_not_public_is_not_connected_to(url: str) -> None:
    async with sink(url, allow_private=False) as hook:
        outcome = await hook.send([EVENT])
    assert outcome.status is None
    assert "is not a public address" in outcome.reason


@pytest.mark.parametrize(
    "url", ["http://127.1:1/", "http://2130706433:1/", "http://0x7f.1:1/", "http://0177.0.0.1:1/"]
)
async def test_another_spelling_of_a_private_address_is_no_way_round(url: str) -> None:
    async with sink(url, allow_private=False) as hook:
        outcome = await hook.send([EVENT])
    assert outcome.status is None
    assert "not a public address" in outcome.reason or "cannot be used" in outcome.reason


async def test_a_name_that_turns_private_after_it_was_looked_up_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def rebound(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    async with subscribing() as subscriber:
        async with sink(f"http://hooks.example:{subscriber.port}/", allow_private=False) as hook:
            for _ in range(2):
                assert "127.0.0.1 is not a public address" in (await hook.send([EVENT])).reason
        assert asked
        assert not subscriber.requests
        async with sink(f"http://hooks.example:{subscriber.port}/", allow_private=True) as hook:
            assert (await hook.send([EVENT])).succeeded


async def test_a_name_server_that_hangs_costs_an_attempt_its_time_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1.5) or [])
    async with sink("http://hooks.example/", timeout="200ms") as hook:
        started = time.monotonic()
        assert "no answer within 0.2 s" in (await hook.send([EVENT])).reason
        assert time.monotonic() - started < 1


async def test_a_redirect_on_the_same_host_is_followed_with_the_event() -> None:
    async with subscribing() as subscriber, sink(subscriber.url) as hook:

        async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
            moved = request.path == "/hook"
            await answer(308 if moved else 200, headers="Location: /other\r\n" if moved else "")(
                request, writer
            )

        subscriber.behave = behave
        outcome = await hook.send([EVENT])
        assert outcome.status == 200
        assert [request.path for request in subscriber.requests] == ["/hook", "/other"]
        assert subscriber.requests[1].events == [EVENT.document()]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/",
        "http://127.0.0.2:{port}/",
        "//127.0.0.2/",
        "file:///etc/passwd",
        "http://[bad/",
    ],
)
async def test_a_redirect_to_somewhere_else_is_not_followed(location: str) -> None:
    async with subscribing() as subscriber, subscribing() as other, sink(subscriber.url) as hook:
        subscriber.behave = answer(307, headers=f"Location: {location.format(port=other.port)}\r\n")
        await hook.send([EVENT])
        assert len(subscriber.requests) == 1
        assert not other.requests


async def test_redirects_in_a_circle_end() -> None:
    async with subscribing() as subscriber, sink(subscriber.url) as hook:
        subscriber.behave = answer(307, headers="Location: /again\r\n")
        outcome = await hook.send([EVENT])
    assert not outcome.succeeded
    assert len(subscriber.requests) == 4


SECRETS = ["whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]


def verify(secret: str, request: Request) -> bool:
    """As Standard Webhooks describes it for a subscriber."""
    key = base64.b64decode(secret.split("_", 1)[1])
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.{request.body.decode()}"
    wanted = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    versions = [part.split(",", 1) for part in request.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(value, wanted) for version, value in versions)


async def test_requests_are_signed_so_that_a_subscriber_can_tell() -> None:
    async with subscribing() as subscriber, sink(subscriber.url, secrets=SECRETS[:1]) as hook:
        await hook.send([EVENT])
        await hook.send([EVENT])
    first, second = subscriber.requests
    assert verify(SECRETS[0], first)
    assert not verify(SECRETS[1], first)
    assert abs(int(first.headers["webhook-timestamp"]) - time.time()) < 10
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == EVENT.id
    first.body += b" "
    assert not verify(SECRETS[0], first)


async def test_while_a_secret_is_replaced_either_one_verifies() -> None:
    async with subscribing() as subscriber, sink(subscriber.url, secrets=SECRETS) as hook:
        await hook.send([EVENT])
    assert all(verify(secret, subscriber.requests[0]) for secret in SECRETS)


async def test_without_secrets_there_is_no_signature() -> None:
    async with subscribing() as subscriber, sink(subscriber.url) as hook:
        await hook.send([EVENT])
    assert "webhook-signature" not in subscriber.requests[0].headers
    assert subscriber.requests[0].headers["webhook-id"] == EVENT.id


async def test_the_media_type_can_be_that_of_distribution_2() -> None:
    async with subscribing() as subscriber, sink(subscriber.url, mediatype="v1") as hook:
        await hook.send([EVENT])
    assert (
        subscriber.requests[0].headers["content-type"] == "application/vnd.docker.distribution.events.v1+json"
    )


async def test_an_event_can_be_a_cloud_event() -> None:
    async with subscribing() as subscriber, sink(subscriber.url, format="cloudevents") as hook:
        await hook.send([EVENT])
    request = subscriber.requests[0]
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.document == {
        "specversion": "1.0",
        "id": EVENT.id,
        "source": "//registry.example:5000",
        "type": "moorage.registry.push",
        "subject": "team/app:latest",
        "time": "2023-11-14T22:13:20.123Z",
        "datacontenttype": "application/json",
        "data": EVENT.document(),
    }


async def test_a_batch_of_cloud_events_is_in_batched_mode() -> None:
    fields = {"format": "cloudevents", "batch": {"events": 2}}
    async with subscribing() as subscriber, sink(subscriber.url, **fields) as hook:
        await hook.send([EVENT, EVENT])
        await hook.send([EVENT])
    assert [len(request.document) for request in subscriber.requests] == [2, 1]
    assert {request.headers["content-type"] for request in subscriber.requests} == {
        "application/cloudevents-batch+json"
    }


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_a_certificate_of_an_unknown_authority_is_refused(server_tls: ssl.SSLContext) -> None:
    async with subscribing(server_tls) as subscriber, sink(subscriber.url) as hook:
        outcome = await hook.send([EVENT])
    assert "certificate" in outcome.reason
    assert not subscriber.requests


async def test_an_authority_of_one_s_own_is_trusted_when_it_is_named(
    server_tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    with authority.cert_pem.tempfile() as ca:
        async with subscribing(server_tls) as subscriber, sink(subscriber.url, tls={"ca": ca}) as hook:
            assert (await hook.send([EVENT])).succeeded


async def test_a_client_certificate_is_shown(server_tls: ssl.SSLContext, authority: trustme.CA) -> None:
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    own = authority.issue_cert("notifier@registry.example")
    with (
        authority.cert_pem.tempfile() as ca,
        own.private_key_pem.tempfile() as key,
        own.cert_chain_pems[0].tempfile() as certificate,
    ):
        async with subscribing(server_tls) as subscriber:
            async with sink(subscriber.url, tls={"ca": ca}) as hook:
                assert not (await hook.send([EVENT])).succeeded
            mutual = {"ca": ca, "certificate": certificate, "key": key}
            async with sink(subscriber.url, tls=mutual) as hook:
                assert (await hook.send([EVENT])).succeeded


async def test_a_reason_never_holds_the_url_or_a_secret() -> None:
    url = "http://127.0.0.1:1/hook/t0ps3cret?token=t0ps3cret"
    async with sink(url, headers={"Authorization": "Bearer t0ps3cret"}) as hook:
        outcome = await hook.send([EVENT])
    assert "t0ps3cret" not in outcome.reason + repr(outcome)
