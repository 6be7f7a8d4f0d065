"""Random sequences of calls on a driver and on the in-memory driver, which must answer alike.

Where backends may differ the comparison looks away: an empty folder counts as missing, a file is not put
where a folder is or below another file, and a stream is looked at once it is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from blob_service.drivers.inmemory import create as create_model
from blob_service.drivers.interface import PathNotFoundError, StorageDriver, StorageError
from blob_service.drivers.paths import components, join, split

T = TypeVar("T")

# Names that are prefixes of each other and sort around the slash, and few enough for calls to meet.
NAMES = st.sampled_from(["a", "ab", "a-", "a.b", "B", "_"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
FOLDERS = st.one_of(st.just("/"), PATHS)
CONTENTS = st.binary(max_size=40)
AFTER = st.one_of(st.just(""), NAMES, st.sampled_from(["a0", "zz", "A"]))


class Backend(Protocol):
    """See conftest.py."""

    create: Callable[[Path], StorageDriver]


async def outcome(call: Awaitable[T]) -> T | str:
    """What a call gives: its result, or its error's name."""
    try:
        return await call
    except StorageError as error:
        return type(error).__name__


async def read(driver: StorageDriver, path: str, offset: int, length: int | None) -> bytes:
    async with await driver.reader(path, offset, length=length) as reader:
        return b"".join([chunk async for chunk in reader])


async def files(driver: StorageDriver, folder: str = "/", **options: Any) -> AsyncIterator[tuple[str, int]]:
    try:
        async for info in driver.walk(folder, **options):
            if not info.is_dir:
                yield info.path, info.size
    except PathNotFoundError:
        return


async def is_file(driver: StorageDriver, path: str) -> bool:
    with suppress(PathNotFoundError):
        return not (await driver.stat(path)).is_dir
    return False


async def has_files(driver: StorageDriver, path: str) -> bool:
    """Whether there is a file at the path or below it."""
    return await is_file(driver, path) or bool([found async for found in files(driver, path)])


async def listing(driver: StorageDriver, folder: str, after: str, page: int, having: str) -> list[str]:
    """A folder's children, in pages, without those that are only there as empty folders."""
    found: list[str] = []
    while True:
        try:
            children = await driver.list(folder, after=after, limit=page, having=having)
        except PathNotFoundError:
            return []
        names = [split(child)[1] for child in children]
        assert all(split(child)[0] == folder for child in children)
        assert names == sorted(names)
        assert len(names) <= page
        assert all(name > after for name in names)
        found += children
        if len(children) < page:
            break
        after = names[-1]
    return [child for child in found if await has_files(driver, join(child, having) if having else child)]


class DriverMachine(RuleBasedStateMachine):
    """One random sequence of calls."""

    def __init__(self, make_driver: Callable[[], StorageDriver]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.driver = make_driver()
        self.model = create_model({})

    def teardown(self) -> None:
        self.run(self.driver.close())
        self.runner.close()

    def run(self, call: Awaitable[T]) -> T:
        async def run() -> T:
            return await call

        return self.runner.run(run())

    def compare(self, ask: Callable[[StorageDriver], Awaitable[object]]) -> None:
        expected = self.run(outcome(ask(self.model)))
        assert self.run(outcome(ask(self.driver))) == expected

    def assume_writable(self, path: str) -> None:
        """Leave out a path that is a folder, or lies below a file."""
        names = components(path)
        ancestors = ["/" + "/".join(names[:count]) for count in range(1, len(names))]
        assume(not any(self.run(is_file(self.model, ancestor)) for ancestor in ancestors))
        info = self.run(outcome(self.model.stat(path)))
        assume(isinstance(info, str) or not info.is_dir)

    @rule(path=PATHS, content=CONTENTS)
    def put(self, path: str, content: bytes) -> None:
        self.assume_writable(path)
        self.compare(lambda driver: driver.put_content(path, content))

    @rule(path=PATHS, sessions=st.lists(st.lists(CONTENTS, max_size=3), min_size=1, max_size=3))
    def stream(self, path: str, sessions: list[list[bytes]]) -> None:
        """A stream that is closed and continued between the sessions, and then committed."""
        self.assume_writable(path)

        async def write(driver: StorageDriver) -> list[int]:
            sizes = []
            for number, pieces in enumerate(sessions):
                async with await driver.writer(path, append=number > 0) as writer:
                    for piece in pieces:
                        await writer.write(piece)
                    if number == len(sessions) - 1:
                        await writer.commit()
                sizes.append(writer.size)
            return sizes

        self.compare(write)

    @rule(path=PATHS, content=CONTENTS)
    def append_to_empty(self, path: str, content: bytes) -> None:
        found = self.run(outcome(self.model.get_content(path)))
        assume(found in (b"", "PathNotFoundError"))

        async def append(driver: StorageDriver) -> int:
            async with await driver.writer(path, append=True) as writer:
                await writer.write(content)
                await writer.commit()
            return writer.size

        self.assume_writable(path)
        self.compare(append)

    @rule(path=PATHS, content=CONTENTS)
    def begin_and_cancel(self, path: str, content: bytes) -> None:
        self.assume_writable(path)

        async def cancel(driver: StorageDriver) -> None:
            async with await driver.writer(path) as writer:
                await writer.write(content)
                await writer.cancel()

        self.compare(cancel)

    @rule(path=PATHS)
    def get(self, path: str) -> None:
        self.compare(lambda driver: driver.get_content(path))

    @rule(path=PATHS, offset=st.integers(-2, 50), length=st.none() | st.integers(0, 50))
    def read(self, path: str, offset: int, length: int | None) -> None:
        self.compare(lambda driver: read(driver, path, offset, length))

    @rule(source=PATHS, destination=PATHS)
    def move(self, source: str, destination: str) -> None:
        self.assume_writable(destination)
        # A file is not moved to below itself.
        assume(
            components(source) != components(destination)[: len(components(source))] or source == destination
        )
        self.compare(lambda driver: driver.move(source, destination))

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        if self.run(has_files(self.model, path)):
            self.compare(lambda driver: driver.delete(path))
        else:
            for driver in (self.model, self.driver):
                assert self.run(outcome(driver.delete(path))) in (None, "PathNotFoundError")

    @rule(path=FOLDERS)
    def stat(self, path: str) -> None:
        async def ask(driver: StorageDriver) -> object:
            info = await driver.stat(path)
            if info.is_dir and path != "/" and not await has_files(driver, path):
                return "PathNotFoundError"
            return info.path, info.size, info.is_dir

        self.compare(ask)

    @rule(
        folder=FOLDERS,
        after=AFTER,
        page=st.integers(1, 4),
        having=st.one_of(st.just(""), PATHS.map(lambda path: path[1:])),
    )
    def list(self, folder: str, after: str, page: int, having: str) -> None:
        self.compare(lambda driver: listing(driver, folder, after, page, having))

    @rule(folder=FOLDERS, start_after=st.one_of(st.just(""), PATHS), left_out=st.sets(NAMES, max_size=2))
    def walk(self, folder: str, start_after: str, left_out: set[str]) -> None:
        async def walk(driver: StorageDriver) -> object:
            walked = files(
                driver, folder, start_after=start_after, descend=lambda info: info.name not in left_out
            )
            return [found async for found in walked]

        self.compare(walk)

    @invariant()
    def the_same_files_are_there(self) -> None:
        async def contents(driver: StorageDriver) -> object:
            return [(path, await driver.get_content(path)) async for path, _ in files(driver)]

        self.compare(contents)


def test_a_driver_answers_as_the_model_does(
    backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run_state_machine_as_test(
        lambda: DriverMachine(lambda: backend.create(tmp_path_factory.mktemp("model") / "storage")),
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
