"""Every time and number of `redis` holds against a real server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from metadata_service.cache.interface import CacheAwayError, CacheBusyError
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest
from support.processes import free_port

DIGEST = Digest.of(b"a layer")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)

# For a machine that does other things too.
SLACK = 1.5


@contextmanager
def taking(at_least: float, at_most: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started <= at_most


def section(server, **keys: object) -> str:
    pairs = ", ".join(f"{name}: {value}" for name, value in keys.items())
    return f"{{addr: '{server.address}', clientname: ours, {pairs}}}"


async def test_nobody_waits_longer_for_an_answer_than_readtimeout(opened, redis_server) -> None:
    cache = opened(section(redis_server, readtimeout="300ms", dialtimeout="20s", writetimeout="20s"))
    await cache.check(writes=False)
    redis_server.pause()
    with taking(0.3, 0.3 + SLACK), pytest.raises(CacheAwayError, match="reading"):
        await cache.get("team/app", DIGEST)


async def test_nobody_waits_longer_for_a_connection_than_dialtimeout(opened) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # The kernel answers no more once its queue is full.
        with socket.socket() as first, socket.socket() as second:
            for each in (first, second):
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            cache = opened(
                f"{{addr: '127.0.0.1:{port}', dialtimeout: 300ms, readtimeout: 20s, writetimeout: 20s}}"
            )
            with taking(0.3, 0.3 + SLACK), pytest.raises(CacheAwayError, match="connecting"):
                await cache.get("team/app", DIGEST)


async def test_nobody_waits_longer_for_sending_than_writetimeout(opened, redis_server) -> None:
    cache = opened(section(redis_server, writetimeout="300ms", dialtimeout="20s", readtimeout="20s"))
    await cache.check(writes=False)
    redis_server.pause()
    long_name = "x" * 2**25  # more than the sockets' buffers take
    with taking(0.3, 0.3 + SLACK), pytest.raises(CacheAwayError, match="writing"):
        await cache.get(long_name, DIGEST)


async def test_nobody_listens_is_found_out_at_once(opened) -> None:
    cache = opened(f"{{addr: '127.0.0.1:{free_port()}', dialtimeout: 20s}}")
    with taking(0, SLACK), pytest.raises(CacheAwayError):
        await cache.get("team/app", DIGEST)


async def test_however_many_steps_a_call_has_an_end(opened, redis_server) -> None:
    cache = opened(section(redis_server, readtimeout="100ms", maxretries=2, maxretrybackoff="50ms"))
    redis_server.pause()
    # Connecting, and nothing answers the login's first step; three times.
    with taking(0.3, 3 * 1.1 + 0.1 + SLACK), pytest.raises(CacheAwayError):
        await cache.get("team/app", DIGEST)


async def test_a_command_is_sent_again_as_often_as_maxretries_says(opened, redis_server) -> None:
    cache = opened(section(redis_server, maxretries=5, minretrybackoff="50ms", maxretrybackoff="200ms"))
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.kill()

    async def back_soon() -> None:
        await asyncio.sleep(0.15)
        redis_server.start()

    restart = asyncio.create_task(back_soon())
    assert await cache.get("team/app", DIGEST) is None
    await restart


async def test_without_retries_a_command_is_sent_once(opened, redis_server) -> None:
    cache = opened(section(redis_server))
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.kill()
    with taking(0, SLACK), pytest.raises(CacheAwayError):
        await cache.get("team/app", DIGEST)


@pytest.mark.parametrize("keys", [{"poolsize": 3}, {"poolsize": 9, "maxactiveconns": 3}])
async def test_there_are_no_more_connections_than_poolsize(opened, redis_server, keys) -> None:
    cache = opened(section(redis_server, pooltimeout="20s", **keys))
    answers = await asyncio.gather(*(cache.get("team/app", DIGEST) for _ in range(50)))
    assert answers == [None] * 50
    assert 1 <= len(redis_server.connections("ours")) <= 3


async def test_a_cluster_s_nodes_have_no_more_connections_each_than_poolsize(opened, redis_cluster) -> None:
    cache = opened(f"{{addrs: {redis_cluster.addresses}, clientname: few, poolsize: 2, pooltimeout: 20s}}")
    await asyncio.gather(*(cache.get(f"team/{number}", DIGEST) for number in range(50)))
    for node in redis_cluster.nodes:
        # and one, to one of them, over which the nodes were found
        assert len(node.connections("few")) <= 2 + 1


async def test_nobody_waits_longer_for_a_free_connection_than_pooltimeout(opened, redis_server) -> None:
    cache = opened(section(redis_server, poolsize=1, pooltimeout="300ms", readtimeout="20s"))
    await cache.check(writes=False)
    redis_server.pause()
    busy = asyncio.create_task(cache.get("team/app", DIGEST))
    await asyncio.sleep(0.05)
    with taking(0.3, 0.3 + SLACK), pytest.raises(CacheBusyError):
        await cache.get("team/app", DIGEST)
    redis_server.resume()
    assert await busy is None


async def test_distribution_2_s_pool_does_not_wait_at_all(opened, redis_server) -> None:
    cache = opened(section(redis_server, pool="{maxactive: 1}", readtimeout="20s"))
    await cache.check(writes=False)
    redis_server.pause()
    busy = asyncio.create_task(cache.get("team/app", DIGEST))
    await asyncio.sleep(0.05)
    with taking(0, SLACK), pytest.raises(CacheBusyError):
        await cache.get("team/app", DIGEST)
    redis_server.resume()
    assert await busy is None


@pytest.mark.parametrize("keys", [{"maxidleconns": 2}, {"pool": "{maxidle: 2, maxactive: 10}"}])
async def test_connections_that_nobody_uses_are_closed_beyond_maxidleconns(
    opened, redis_server, keys
) -> None:
    cache = opened(section(redis_server, **keys))
    await asyncio.gather(*(cache.get("team/app", DIGEST) for _ in range(10)))
    await eventually(lambda: len(redis_server.connections("ours")) == 2)
    assert await cache.get("team/app", DIGEST) is None


async def test_minidleconns_connections_are_open_before_they_are_needed(opened, redis_server) -> None:
    cache = opened(section(redis_server, minidleconns=4))
    await cache.check(writes=False)
    assert len(redis_server.connections("ours")) == 4
    await cache.check(writes=False)
    assert len(redis_server.connections("ours")) == 4


@pytest.mark.parametrize(
    "keys",
    [
        {"connmaxidletime": "1s"},
        {"connmaxlifetime": "1s"},
        {"pool": "{idletimeout: 1s}"},
    ],
)
async def test_an_old_connection_is_replaced(opened, redis_server, keys) -> None:
    cache = opened(section(redis_server, **keys))
    await cache.get("team/app", DIGEST)
    (before,) = redis_server.connections("ours")
    await cache.get("team/app", DIGEST)
    assert [each["id"] for each in redis_server.connections("ours")] == [before["id"]]
    await asyncio.sleep(1.2)
    await cache.get("team/app", DIGEST)
    (after,) = redis_server.connections("ours")
    assert after["id"] != before["id"]


async def test_a_connection_that_the_server_closed_costs_nobody_an_error(opened, redis_server) -> None:
    cache = opened(section(redis_server))
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.client.client_kill_filter(skipme=True)
    await asyncio.sleep(0.05)
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR


async def test_an_answer_that_comes_late_is_not_taken_for_another_one(opened, redis_server) -> None:
    """Callers give up at every moment, and nobody sees another one's answer."""
    cache = opened(section(redis_server, poolsize=2, readtimeout="150ms", pooltimeout="5s"))
    digests = [Digest.of(str(number).encode()) for number in range(8)]
    for number, digest in enumerate(digests):
        await cache.add("team/app", digest, BlobDescriptor(digest, number))

    wrong = []

    async def ask(number: int, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                answer = await cache.get("team/app", digests[number])
        except (TimeoutError, CacheAwayError, CacheBusyError):
            return
        if answer != BlobDescriptor(digests[number], number):
            wrong.append((number, answer))

    for turn in range(10):
        redis_server.command("CLIENT", "PAUSE", 100, "ALL") if turn % 2 else None
        async with asyncio.TaskGroup() as group:
            for step in range(40):
                group.create_task(ask((turn + step) % len(digests), 0.002 * step))
    assert wrong == []
    assert await cache.get("team/app", digests[3]) == BlobDescriptor(digests[3], 3)


async def test_database_user_and_name_are_those_of_the_configuration(opened, redis_server) -> None:
    redis_server.command("ACL", "SETUSER", "registry", "on", ">hush", "~*", "+@all")
    cache = opened(section(redis_server, db=3, username="registry", password="hush"))
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    (connection,) = redis_server.connections("ours")
    assert (connection["db"], connection["user"]) == ("3", "registry")
    assert redis_server.all_keys() == set()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_give_the_same_answers(opened, redis_server, protocol: int) -> None:
    cache = opened(section(redis_server, protocol=protocol))
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR
    await cache.remove("team/app", DIGEST)
    assert await cache.get("team/app", DIGEST) is None
    assert redis_server.connections("ours")[0]["resp"] == str(protocol) if protocol == 3 else True


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [({"password": "wrong"}, "WRONGPASS|invalid"), ({}, "NOAUTH|Authentication required")],
)
async def test_a_wrong_password_is_said_and_not_repeated(opened, redis_server, keys, sentence: str) -> None:
    redis_server.command("CONFIG", "SET", "requirepass", "right")
    cache = opened(section(redis_server, **keys))
    with pytest.raises(CacheAwayError, match=sentence) as caught:
        await cache.get("team/app", DIGEST)
    assert "wrong" not in str(caught.value)


async def eventually(condition, timeout: float = 5) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)
