"""What `BoundedDriver` adds to every backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from blob_service.drivers import base
from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.errors import DriverError, InvalidOffsetError, InvalidPathError, PathNotFoundError
from blob_service.drivers.inmemory import InMemoryDriver
from blob_service.drivers.interface import FileInfo, FileReader, RedirectRequest, StorageDriver


class CountingBackend(InMemoryDriver):
    """An in-memory backend with a name of its own, that knows how many of its calls go on at once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.running = 0
        self.most_running = 0
        self.calls = 0

    @property
    def name(self) -> str:
        return self._name

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        self.calls += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0.005)
            yield
        finally:
            self.running -= 1

    async def get_content(self, path: str) -> bytes:
        async with self.counted():
            return await super().get_content(path)

    async def put_content(self, path: str, content: bytes) -> None:
        async with self.counted():
            await super().put_content(path, content)

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        async with self.counted():
            return await super().reader(path, offset, length=length)

    async def stat(self, path: str) -> FileInfo:
        async with self.counted():
            return await super().stat(path)


def count_of(driver: str, action: str) -> float:
    labels = {"driver": driver, "action": action}
    return REGISTRY.get_sample_value("registry_storage_action_seconds_count", labels) or 0.0


async def test_no_more_calls_than_the_limit_go_on_at_once() -> None:
    backend = CountingBackend("limited")
    driver = BoundedDriver(backend, max_calls=3)
    await asyncio.gather(*(driver.put_content(f"/{number}", b"x") for number in range(12)))
    assert backend.calls == 12
    assert backend.most_running == 3


async def test_calls_that_are_made_together_take_one_turn() -> None:
    backend = CountingBackend("together")
    driver = BoundedDriver(backend, max_calls=2)

    async def put_two(number: int) -> None:
        await driver.put_content(f"/{number}/a", b"x")
        await driver.put_content(f"/{number}/b", b"x")

    await asyncio.gather(*(driver.together(lambda number=number: put_two(number)) for number in range(6)))
    assert backend.calls == 12
    assert backend.most_running == 2
    # Each takes its turn again afterwards.
    await asyncio.gather(*(driver.put_content(f"/later/{number}", b"x") for number in range(6)))
    assert backend.most_running == 2


async def test_an_error_of_calls_that_are_made_together_names_the_driver() -> None:
    driver = BoundedDriver(CountingBackend("named"))

    async def work() -> None:
        await driver.get_content("/none")

    with pytest.raises(PathNotFoundError) as raised:
        await driver.together(work)
    assert raised.value.driver == "named"


async def test_without_a_limit_all_calls_go_on_at_once() -> None:
    backend = CountingBackend("unlimited")
    driver = BoundedDriver(backend)
    await asyncio.gather(*(driver.put_content(f"/{number}", b"x") for number in range(12)))
    assert backend.most_running == 12


async def test_an_open_stream_takes_no_turn() -> None:
    driver = BoundedDriver(CountingBackend("streams"), max_calls=1)
    await driver.put_content("/file", b"x")
    async with await driver.reader("/file") as reader, await driver.writer("/data") as writer:
        await asyncio.wait_for(driver.put_content("/other", b"y"), 5)
        assert await anext(reader) == b"x"
        await writer.commit()


async def test_a_walk_takes_no_turn_between_its_steps() -> None:
    driver = BoundedDriver(CountingBackend("walks"), max_calls=1)
    for number in range(3):
        await driver.put_content(f"/{number}", b"x")

    async def walk_and_stat() -> list[int]:
        return [(await driver.stat(info.path)).size async for info in driver.walk("/")]

    assert await asyncio.wait_for(walk_and_stat(), 5) == [1, 1, 1]


async def test_a_call_that_fails_or_is_cancelled_gives_its_turn_back() -> None:
    driver = BoundedDriver(CountingBackend("turns"), max_calls=1)
    with pytest.raises(PathNotFoundError):
        await driver.get_content("/missing")
    task = asyncio.create_task(driver.get_content("/missing"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.wait_for(driver.put_content("/file", b"x"), 5)


@pytest.mark.parametrize(
    ("refused", "call"),
    [
        (InvalidPathError, lambda driver: driver.get_content("/../etc/passwd")),
        (InvalidPathError, lambda driver: driver.put_content("", b"x")),
        (InvalidPathError, lambda driver: driver.stat("relative")),
        (InvalidOffsetError, lambda driver: driver.reader("/file", -1)),
        (ValueError, lambda driver: driver.reader("/file", 0, length=-1)),
    ],
)
async def test_the_backend_never_sees_what_is_not_valid(
    refused: type[Exception], call: Callable[[StorageDriver], Awaitable[object]]
) -> None:
    backend = CountingBackend("guarded")
    with pytest.raises(refused):
        await call(BoundedDriver(backend))
    assert backend.calls == 0


async def test_every_error_has_the_drivers_name_also_those_of_streams() -> None:
    class NamelessBackend(CountingBackend):
        async def stat(self, path: str) -> FileInfo:
            raise DriverError("", "the backend is on fire")

    driver = BoundedDriver(NamelessBackend("named"))
    await driver.put_content("/file", b"x")
    with pytest.raises(DriverError, match="named: the backend is on fire"):
        await driver.stat("/file")
    writer = await driver.writer("/data")
    await driver.delete("/data")
    with pytest.raises(PathNotFoundError, match="named: path not found: /data"):
        await writer.close()


async def test_every_call_is_timed_under_distributions_name_for_it() -> None:
    driver = BoundedDriver(CountingBackend("timed"))
    await driver.put_content("/file", b"x")
    await driver.get_content("/file")
    with pytest.raises(PathNotFoundError):
        await driver.get_content("/missing")
    async with await driver.reader("/file"):
        await driver.stat("/file")
    async with await driver.writer("/data") as writer:
        await writer.cancel()
    await driver.list("/")
    assert [info.path async for info in driver.walk("/")] == ["/file"]
    await driver.redirect_url(RedirectRequest("GET"), "/file")
    await driver.move("/file", "/moved")
    await driver.delete("/moved")
    counts = {
        action: count_of("timed", action)
        for action in (
            *("GetContent", "PutContent", "Reader", "Writer", "Stat", "List"),
            *("Walk", "Move", "Delete", "RedirectURL"),
        )
    }
    assert counts.pop("GetContent") == 2
    assert set(counts.values()) == {1}


async def test_the_steps_of_streams_are_timed_too_and_logged_once_with_their_bytes(
    logged: list[tuple[str, dict[str, Any]]],
) -> None:
    driver = BoundedDriver(CountingBackend("streaming"))
    async with await driver.writer("/data") as writer:
        await writer.write(b"12345")
        await writer.write(b"67890")
        await writer.flush()
        await writer.commit()
    async with await driver.reader("/data") as reader:
        assert [chunk async for chunk in reader] == [b"1234567890"]
        await reader.aclose()
    async with await driver.writer("/other") as writer:
        await writer.cancel()
    steps = ("Writer.Write", "Writer.Flush", "Writer.Commit", "Writer.Close", "Writer.Cancel", "Reader.Read")
    # The last read finds the end.
    assert [count_of("streaming", step) for step in steps] == [2, 1, 1, 2, 1, 2]
    ends = [(event, fields["bytes"]) for event, fields in logged if event.endswith(" has ended")]
    assert ends == [
        ("streaming.Writer(/data) has ended", 10),
        ("streaming.Reader(/data) has ended", 10),
        ("streaming.Writer(/other) has ended", 0),
    ]


async def test_the_time_of_a_walk_is_the_drivers_and_not_the_callers() -> None:
    driver = BoundedDriver(InMemoryDriver())
    await driver.put_content("/file", b"x")
    labels = {"driver": "inmemory", "action": "Walk"}

    def seconds() -> float:
        return REGISTRY.get_sample_value("registry_storage_action_seconds_sum", labels) or 0.0

    before = seconds()
    async for _ in driver.walk("/"):
        await asyncio.sleep(0.2)
    assert seconds() - before < 0.1


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is logged at debug: each line's event, and what goes with it."""
    lines: list[tuple[str, dict[str, Any]]] = []

    def keep(_logger: object, level: str, event: dict[str, Any]) -> str:
        assert level == "debug"
        lines.append((event.pop("event"), event))
        raise structlog.DropEvent

    monkeypatch.setattr(base, "_log", structlog.wrap_logger(structlog.PrintLogger(), processors=[keep]))
    return lines


async def test_every_call_is_logged_at_debug_with_its_path(logged: list[tuple[str, dict[str, Any]]]) -> None:
    driver = BoundedDriver(InMemoryDriver())
    await driver.put_content("/a/file", b"secret")
    await driver.move("/a/file", "/b/file")
    with pytest.raises(PathNotFoundError):
        await driver.stat("/a/file")
    assert [event for event, _ in logged] == [
        "inmemory.PutContent(/a/file)",
        "inmemory.Move(/a/file, /b/file)",
        "inmemory.Stat(/a/file)",
    ]


async def test_the_key_in_an_object_store_is_the_backends() -> None:
    class Bucket(CountingBackend):
        def object_key(self, path: str) -> str | None:
            return f"root{path}"

    assert BoundedDriver(Bucket("bucket")).object_key("/file") == "root/file"
    assert BoundedDriver(InMemoryDriver()).object_key("/file") is None
    with pytest.raises(InvalidPathError, match="bucket"):
        BoundedDriver(Bucket("bucket")).object_key("/..")
