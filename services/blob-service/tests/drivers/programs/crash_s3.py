"""As crash.py, with the S3 driver: kills a process at random moments and looks at what is in the bucket.

    crash_s3.py PARAMETERS SCENARIO ROUNDS

PARAMETERS are the driver's, as JSON. Prints how often it killed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crash
import structlog
from pydantic import SecretStr

from blob_service.drivers.interface import StorageDriver
from blob_service.drivers.s3 import create

MIB = 1 << 20


class Append(crash.Append):
    """Appends; the check commits, as this driver shows no content before."""

    async def check(self, driver: StorageDriver, acknowledged: int) -> None:
        async with await driver.writer(self.PATH, append=True) as writer:
            size = writer.size
            assert size >= acknowledged, f"{acknowledged} bytes were stored, {size} are there"
            await writer.commit()
        content = await driver.get_content(self.PATH)
        assert content == self.pattern(0, size), "these are not the bytes that were written"
        await driver.delete(self.PATH)
        await self.prepare(driver)


class AppendParts(Append):
    """Appends that are larger than a part, so that kills meet parts, records and what is between them."""

    async def step(self, driver: StorageDriver, acknowledge: crash.Acknowledge) -> None:
        async with await driver.writer(self.PATH, append=True) as writer:
            await writer.write(self.pattern(writer.size, random.randrange(1, 12 * MIB)))
        acknowledge(writer.size)


SCENARIOS: dict[str, Any] = {**crash.SCENARIOS, "append": Append, "append-parts": AppendParts}


def main(parameters: str, name: str, rounds: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    given = json.loads(parameters)
    given["secretkey"] = SecretStr(given["secretkey"])
    scenario = SCENARIOS[name]()

    def with_driver(_: Path, use: Callable[[StorageDriver], Any]) -> None:
        async def run() -> None:
            driver = create(given)
            await use(driver)
            await driver.close()

        asyncio.run(run())

    crash.with_driver = with_driver
    crash.KILL_AFTER_SECONDS = (0.05, 0.6)
    with_driver(Path(), scenario.prepare)
    kills = 0
    for acknowledged in crash.rounds_at_random(Path(), scenario, int(rounds)):
        kills += 1
        with_driver(Path(), lambda driver, value=acknowledged: scenario.check(driver, value))
    print(kills)


if __name__ == "__main__":
    main(*sys.argv[1:])
