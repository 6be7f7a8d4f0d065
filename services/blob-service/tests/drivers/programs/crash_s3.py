"""As crash.py, with the S3 driver: kills a process at random moments and looks at what is in the bucket.

    crash_s3.py PARAMETERS SCENARIO ROUNDS

PARAMETERS are the driver's, as JSON. Prints how often it killed.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import crash
import structlog
from pydantic import SecretStr

from blob_service.drivers.interface import StorageDriver

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

    backend = crash.Backend("s3", given)
    crash.KILL_AFTER_SECONDS = (0.05, 0.6)
    backend.use(scenario.prepare)
    kills = 0
    for acknowledged in crash.rounds_at_random(backend, scenario, int(rounds)):
        kills += 1
        backend.use(lambda driver, value=acknowledged: scenario.check(driver, value))
    print(kills)


if __name__ == "__main__":
    main(*sys.argv[1:])
