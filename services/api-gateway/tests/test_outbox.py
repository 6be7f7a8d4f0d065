"""The outbox: what it says it has is on disk, in order, whoever shares it and whatever dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api_gateway.events.message import Message
from api_gateway.events.outbox import Outbox, OutboxError
from support.processes import run


def message(number: int, repository: str = "app", body: bytes = b"{}") -> Message:
    return Message(f"id-{number}", repository, f"registry.events.push.{repository}", body)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    outbox = await Outbox.open(tmp_path)
    yield outbox
    await outbox.close()


async def test_messages_come_out_as_and_in_the_order_in_which_they_went_in(outbox: Outbox) -> None:
    messages = [message(n, body=bytes([n])) for n in range(5)]
    await outbox.append(messages[:2])
    await outbox.append(messages[2:])
    rows = await outbox.first(100)
    assert [row[1] for row in rows] == messages
    assert [row[1] for row in await outbox.first(3)] == messages[:3]
    await outbox.remove([rows[0][0], rows[3][0]])
    assert [row[1].id for row in await outbox.first(100)] == ["id-1", "id-2", "id-4"]


async def test_it_knows_how_much_it_holds(outbox: Outbox) -> None:
    assert outbox.is_empty
    assert outbox.state.age == 0
    await outbox.append([message(1, body=b"abc"), message(2, body=b"de")])
    assert not outbox.is_empty
    assert (outbox.state.events, outbox.state.bytes) == (2, 5)
    assert 0 <= outbox.state.age < 60
    (first, _), (second, _) = await outbox.first(2)
    await outbox.remove([first])
    assert (outbox.state.events, outbox.state.bytes) == (1, 2)
    await outbox.remove([first, second])
    assert (outbox.state.events, outbox.state.bytes, outbox.is_empty) == (0, 0, True)


async def test_concurrent_appends_are_few_transactions_in_the_order_of_the_calls(
    outbox: Outbox, tmp_path: Path
) -> None:
    reader = sqlite3.connect(tmp_path / "events.db")
    before = reader.execute("PRAGMA data_version").fetchone()
    await asyncio.gather(*(outbox.append([message(n)]) for n in range(500)))
    assert [row[1].id for row in await outbox.first(1000)] == [f"id-{n}" for n in range(500)]
    assert reader.execute("PRAGMA data_version").fetchone() != before
    moments = reader.execute("SELECT count(DISTINCT recorded) FROM events").fetchone()[0]
    reader.close()
    assert moments <= 3


async def test_those_who_share_it_see_at_once_that_something_is_there(outbox: Outbox, tmp_path: Path) -> None:
    other = await Outbox.open(tmp_path)
    await outbox.append([message(1)])
    assert not other.is_empty
    await other.append([message(2)])
    assert outbox.state.events == 2
    rows = await other.first(10)
    assert [row[1].id for row in rows] == ["id-1", "id-2"]
    await other.remove([row[0] for row in rows])
    assert outbox.is_empty
    await other.close()


async def test_one_that_falsely_says_that_something_is_there_is_corrected_by_looking(outbox: Outbox) -> None:
    # As a process leaves it that dies before its first event is committed.
    state = outbox.state
    outbox._state.write(type(state)(events=1, bytes=2, oldest=1.0))
    assert not outbox.is_empty
    assert await outbox.first(10) == []
    assert outbox.is_empty


async def test_one_that_falsely_says_that_nothing_is_there_is_corrected_by_opening(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path)
    await outbox.append([message(1)])
    await outbox.close()
    # As a power failure may leave it: it is not synced.
    (tmp_path / "state").unlink()
    outbox = await Outbox.open(tmp_path)
    assert outbox.state.events == 1
    await outbox.close()


async def test_it_is_its_owners_alone(outbox: Outbox, tmp_path: Path) -> None:
    await outbox.append([message(1)])
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    assert os.geteuid() == 0, "mounting a small disk needs root: run the tests as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk)
    yield disk
    run("umount", disk)


async def fill(outbox: Outbox) -> int:
    """Append until it fails; how many went in."""
    number = 0
    with suppress(OutboxError):
        while True:
            await outbox.append([message(number, body=bytes(20_000))])
            number += 1
    with pytest.raises(OutboxError, match=r"full|No space"):
        await outbox.append([message(number, body=bytes(20_000))])
    return number


async def empty(outbox: Outbox) -> list[str]:
    """Take everything out, as when it is drained; the ids."""
    ids = []
    while rows := await outbox.first(32):
        ids += [each.id for _, each in rows]
        await outbox.remove([position for position, _ in rows])
    return ids


async def test_a_full_disk_refuses_and_what_is_there_can_be_taken_out(small_disk: Path) -> None:
    outbox = await Outbox.open(small_disk / "outbox")
    number = await fill(outbox)
    assert number > 20
    assert outbox.has_failed
    assert outbox.state.events == number
    assert await empty(outbox) == [f"id-{n}" for n in range(number)]
    assert outbox.is_empty
    # There is room again, for as much.
    assert await fill(outbox) > number * 0.8
    await outbox.close()


async def test_an_outbox_that_was_left_on_a_full_disk_is_opened_and_emptied(small_disk: Path) -> None:
    folder = small_disk / "outbox"
    left = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _APPENDER, folder, "20000", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    said, _ = await asyncio.wait_for(left.communicate(), 60)
    # What the disk has left, another program takes.
    (small_disk / "others").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    assert shutil.disk_usage(small_disk).free == 0
    outbox = await Outbox.open(folder)
    # Lines of the log stand there, too.
    number = sum(line.isdigit() for line in said.splitlines())
    assert number > 20
    assert await empty(outbox) == [str(n) for n in range(number)]
    await outbox.close()


async def test_it_gives_the_disk_back_what_an_outage_took(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path)
    for number in range(100):
        await outbox.append([message(number, body=bytes(50_000))])
    await empty(outbox)
    await outbox.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sum(sizes.values()) - sizes["reserve"] < 1 << 20, sizes


async def test_what_cannot_be_read_is_an_error_and_stays(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path)
    for number in range(100):
        await outbox.append([message(number, body=bytes(3000))])
    await outbox.close()
    database = tmp_path / "events.db"
    content = bytearray(database.read_bytes())
    for page in range(30, len(content) // 4096):
        content[4096 * page : 4096 * page + 100] = b"?" * 100
    database.write_bytes(content)
    outbox = await Outbox.open(tmp_path)
    with pytest.raises(OutboxError, match=r"events\.db.*malformed"):
        await outbox.first(100)
    assert outbox.state.events == 100
    await outbox.close()
    assert database.read_bytes()[30 * 4096 :] == content[30 * 4096 :]


@pytest.mark.parametrize("content", [b"not a database" * 100])
async def test_what_is_no_outbox_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "events.db").write_bytes(content)
    with pytest.raises(OutboxError, match=r"events\.db.*not a database"):
        await Outbox.open(tmp_path)


async def test_the_outbox_of_another_version_is_refused(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "events.db")
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(OutboxError, match=r"of another version \(7\)"):
        await Outbox.open(tmp_path)


_APPENDER = """
import asyncio, sys
from pathlib import Path
from api_gateway.events.message import Message
from api_gateway.events.outbox import Outbox

async def main() -> None:
    outbox = await Outbox.open(Path(sys.argv[1]))
    body = b"x" * int(sys.argv[2])
    for number in range(100_000):
        await outbox.append([Message(str(number), "app", "registry.events.push.app", body)])
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _APPENDER, str(tmp_path), "2"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        assert process.stdout is not None
        for _ in range(50):
            last = int(process.stdout.readline())
        process.kill()
        last = max([last, *map(int, process.stdout.read().split("\n")[:-1])])
    outbox = await Outbox.open(tmp_path)
    found = [int(row[1].id) for row in await outbox.first(100_000)]
    # One more may be there whose append had not returned.
    assert found in (list(range(last + 1)), list(range(last + 2)))
    assert outbox.state.events == len(found)
    await outbox.close()
