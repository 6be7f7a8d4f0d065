"""Kills a process that works with a driver, again and again, and looks at what is left in the backend.

    crash.py DRIVER PARAMETERS SCENARIO at-random ROUNDS
    crash.py DRIVER PARAMETERS SCENARIO at-each-step

PARAMETERS is the driver's section of the configuration, in JSON. Each round forks a worker, which ends with
SIGKILL: after a random time, or right before, in the middle of and right after each call that changes the
backend. Prints how often it killed. Fails when a file is torn, empty or gone, or older than what the worker
knew to be stored, or when a check finds more than garbage, or does not get rid of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from blob_service.drivers import factory
from blob_service.drivers.filesystem import root
from blob_service.drivers.filesystem.openat2 import CallMissingError
from blob_service.drivers.interface import PathNotFoundError, StorageDriver
from blob_service.drivers.rados.pool import Pool

Acknowledge = Callable[[int], None]


def whole(generation: int) -> bytes:
    """Content of some size that shows whether all of it is there."""
    payload = random.Random(generation).randbytes(1 + generation * 7919 % 60_000)
    return b"%d %s " % (generation, hashlib.sha256(payload).hexdigest().encode()) + payload


def generation_of(content: bytes) -> int:
    """The generation of whole content; fails for anything else."""
    generation = int(content.split(b" ", 1)[0] or b"-1")
    assert content == whole(generation), f"torn or empty: {content[:40]!r}, {len(content)} bytes"
    return generation


class Put:
    """Puts one generation after the other to one path."""

    PATH = "/repository/tag/current/link"

    async def prepare(self, driver: StorageDriver) -> None:
        await driver.put_content(self.PATH, whole(0))

    async def step(self, driver: StorageDriver, acknowledge: Acknowledge) -> None:
        generation = generation_of(await driver.get_content(self.PATH)) + 1
        await driver.put_content(self.PATH, whole(generation))
        acknowledge(generation)

    async def check(self, driver: StorageDriver, acknowledged: int) -> None:
        found = generation_of(await driver.get_content(self.PATH))
        assert found >= acknowledged, f"generation {acknowledged} was stored, {found} is there"
        assert await driver.list("/repository/tag/current") == [self.PATH], "a leftover is listed"


class PutNew:
    """Puts to paths whose folders are not there yet. What is acknowledged is the number in the last path."""

    async def prepare(self, driver: StorageDriver) -> None:
        await driver.put_content("/new/0/current/link", whole(0))

    async def step(self, driver: StorageDriver, acknowledge: Acknowledge) -> None:
        number = random.randrange(1 << 60)
        await driver.put_content(f"/new/{number}/current/link", whole(number))
        acknowledge(number)

    async def check(self, driver: StorageDriver, acknowledged: int) -> None:
        assert generation_of(await driver.get_content(f"/new/{acknowledged}/current/link")) == acknowledged
        async for info in driver.walk("/new"):
            if not info.is_dir:
                generation_of(await driver.get_content(info.path))
        await driver.delete("/new")
        await self.prepare(driver)


class Move:
    """Moves one generation after the other over one path."""

    PATH = "/blobs/final/data"

    async def prepare(self, driver: StorageDriver) -> None:
        await driver.put_content(self.PATH, whole(0))

    async def step(self, driver: StorageDriver, acknowledge: Acknowledge) -> None:
        generation = generation_of(await driver.get_content(self.PATH)) + 1
        async with await driver.writer("/uploads/1/data") as writer:
            await writer.write(whole(generation))
            await writer.commit()
            await driver.move("/uploads/1/data", self.PATH)
        acknowledge(generation)

    async def check(self, driver: StorageDriver, acknowledged: int) -> None:
        found = generation_of(await driver.get_content(self.PATH))
        assert found >= acknowledged, f"generation {acknowledged} was moved in, {found} is there"


class Append:
    """Appends to one stream, a session at a time. What is acknowledged is the flushed size."""

    PATH = "/uploads/1/data"
    PATTERN = random.Random(0).randbytes(9973)

    async def prepare(self, driver: StorageDriver) -> None:
        await (await driver.writer(self.PATH)).close()

    async def step(self, driver: StorageDriver, acknowledge: Acknowledge) -> None:
        async with await driver.writer(self.PATH, append=True) as writer:
            for _ in range(3):
                await writer.write(self.pattern(writer.size, random.randrange(1, 30_000)))
                await writer.flush()
                acknowledge(writer.size)

    async def check(self, driver: StorageDriver, acknowledged: int) -> None:
        async with await driver.writer(self.PATH, append=True) as writer:
            size = writer.size
        assert size >= acknowledged, f"{acknowledged} bytes were flushed, {size} are there"
        content = await driver.get_content(self.PATH)
        assert content == self.pattern(0, size), "these are not the bytes that were written"

    def pattern(self, start: int, size: int) -> bytes:
        repeats = self.PATTERN * ((start % len(self.PATTERN) + size) // len(self.PATTERN) + 1)
        return repeats[start % len(self.PATTERN) :][:size]


class Delete:
    """Puts a folder with files and deletes it: acknowledges 1 while it must be there, 2 when it must not."""

    FILES = ("/victim/a", "/victim/b/c", "/victim/b/d/e")

    async def prepare(self, driver: StorageDriver) -> None:
        return

    async def step(self, driver: StorageDriver, acknowledge: Acknowledge) -> None:
        acknowledge(0)
        for path in self.FILES:
            await driver.put_content(path, whole(3))
        acknowledge(1)
        await asyncio.sleep(0.001)
        acknowledge(0)
        await driver.delete("/victim")
        acknowledge(2)
        await asyncio.sleep(0.001)

    async def check(self, driver: StorageDriver, acknowledged: int) -> None:
        there = 0
        for path in self.FILES:
            try:
                generation_of(await driver.get_content(path))
                there += 1
            except PathNotFoundError:
                assert acknowledged != 1, f"{path} was stored and is gone"
        assert acknowledged != 2 or not there, "files were deleted and are there"


SCENARIOS: dict[str, Any] = {
    "put": Put,
    "put-new": PutNew,
    "move": Move,
    "append": Append,
    "delete": Delete,
}

SYSTEM_CALLS = (
    *("mkdir", "open", "close", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "unlink", "rmdir"),
)
MAX_STEPS = 200
# When a worker is killed at random: between the first and the last of these.
KILL_AFTER_SECONDS = (0.01, 0.1)
KILL_BEFORE, KILL_WITHIN, KILL_AFTER = range(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_in_file_system(step: int, moment: int) -> None:
    """Have this process die at its `step`-th change of the file system (the first is 0)."""
    steps = itertools.count()

    def dying(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def changed(*args: Any, **options: Any) -> Any:
            if next(steps) != step:
                return call(*args, **options)
            if moment == KILL_BEFORE:
                die()
            if moment == KILL_WITHIN and name == "pwrite":
                descriptor, data, offset = args
                call(descriptor, data[: len(data) // 2], offset)
                die()
            try:
                call(*args, **options)
            finally:
                die()

        return changed

    for name in SYSTEM_CALLS:
        setattr(os, name, dying(getattr(os, name), name))
    # So each folder on the way is opened by a call of its own, at which to die.
    root.open_below = without_openat2


def without_openat2(folder: int, names: Sequence[str]) -> int:
    raise CallMissingError


def die_in_pool(step: int, moment: int) -> None:
    """Have this process die at its `step`-th change of a pool; in its middle it is sent and not answered."""
    steps = itertools.count()

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        async def changed(*args: Any, **options: Any) -> Any:
            if next(steps) != step:
                return await call(*args, **options)
            if moment == KILL_BEFORE:
                die()
            if moment == KILL_WITHIN:
                sending = asyncio.ensure_future(call(*args, **options))
                await asyncio.wait((sending,), timeout=0)
                die()
            try:
                return await call(*args, **options)
            finally:
                die()

        return changed

    for name in ("write", "remove_if_empty"):
        setattr(Pool, name, dying(getattr(Pool, name)))


DIE_AT = {"filesystem": die_in_file_system, "rados": die_in_pool}


class Backend:
    """A driver by its name and parameters, opened anew for each use."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self.name = name
        self._parameters = parameters

    def use(self, use: Callable[[StorageDriver], Any]) -> None:
        async def run() -> None:
            driver = factory.create(self.name, self._parameters)
            await use(driver)
            await driver.close()

        asyncio.run(run())

    def check(self, scenario: Any, acknowledged: int, *, repair_first: bool) -> None:
        """What was acknowledged is there, before a repair or after it; and what a repair finds is garbage."""
        steps = [self._repair, lambda driver: scenario.check(driver, acknowledged)]
        for step in steps if repair_first else reversed(steps):
            self.use(step)

    async def _repair(self, driver: StorageDriver) -> None:
        found = [finding async for finding in driver.check(repair=True, older_than=-1)]
        assert all(finding.repaired for finding in found), found
        assert not [finding for finding in found if "lost" in finding.kind], found
        assert not [finding async for finding in driver.check(repair=True, older_than=-1)]


def fork_worker(backend: Backend, scenario: Any, before: Callable[[], None], once: bool) -> tuple[int, int]:
    """A worker's process id, and the descriptor from which to read what it acknowledged."""
    acknowledged, acknowledging = os.pipe()
    worker = os.fork()
    if worker:
        os.close(acknowledging)
        return worker, acknowledged

    async def work(driver: StorageDriver) -> None:
        before()
        while True:
            await scenario.step(driver, lambda value: os.write(acknowledging, struct.pack("q", value)))
            if once:
                os._exit(0)

    try:
        backend.use(work)
    finally:
        os._exit(1)


def last_acknowledged(descriptor: int) -> int:
    with open(descriptor, "rb") as pipe:
        values = pipe.read()
    return struct.unpack("q", values[-8:])[0] if values else 0


def rounds_at_random(backend: Backend, scenario: Any, rounds: int) -> Iterator[int]:
    for _ in range(rounds):
        worker, acknowledged = fork_worker(backend, scenario, lambda: None, once=False)
        time.sleep(random.uniform(*KILL_AFTER_SECONDS))
        os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
        assert os.WIFSIGNALED(status), "the worker failed before it was killed"
        yield last_acknowledged(acknowledged)


def rounds_at_each_step(backend: Backend, scenario: Any) -> Iterator[int]:
    die_at = DIE_AT[backend.name]
    for step in range(MAX_STEPS):
        for moment in (KILL_BEFORE, KILL_WITHIN, KILL_AFTER):
            worker, acknowledged = fork_worker(
                backend, scenario, lambda step=step, moment=moment: die_at(step, moment), once=True
            )
            _, status = os.waitpid(worker, 0)
            value = last_acknowledged(acknowledged)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0, "the worker failed"
                return
            yield value
    raise AssertionError("the worker never gets to its end")


def main(driver: str, parameters: str, name: str, mode: str, rounds: str = "0") -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    backend = Backend(driver, json.loads(parameters))
    scenario = SCENARIOS[name]()
    backend.use(scenario.prepare)
    kills = 0
    each = (
        rounds_at_each_step(backend, scenario)
        if mode == "at-each-step"
        else rounds_at_random(backend, scenario, int(rounds))
    )
    for acknowledged in each:
        kills += 1
        backend.check(scenario, acknowledged, repair_first=bool(kills % 2))
    print(kills)


if __name__ == "__main__":
    main(*sys.argv[1:])
