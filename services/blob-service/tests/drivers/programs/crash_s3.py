"""As crash.py, with the S3 driver: kills a process at random moments and looks at what is in the bucket.

    crash_s3.py PARAMETERS SCENARIO ROUNDS

PARAMETERS is the driver's section of the configuration in JSON, without the credentials, which are in the
environment.
"""

from __future__ import annotations

import random
import sys

import crash

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


if __name__ == "__main__":
    crash.SCENARIOS |= {"append": Append, "append-parts": AppendParts}
    # Each request takes milliseconds.
    crash.KILL_AFTER_SECONDS = (0.05, 0.6)
    crash.main("s3", *sys.argv[1:3], "at-random", sys.argv[3])
