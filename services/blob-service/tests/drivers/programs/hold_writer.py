"""Opens a writer of the filesystem driver, writes, says so, and holds it until it is killed.

hold_writer.py FOLDER PATH CONTENT
"""

from __future__ import annotations

import asyncio
import sys

from blob_service.drivers.filesystem import FilesystemDriver


async def main(folder: str, path: str, content: str) -> None:
    driver = FilesystemDriver(folder, threads=1)
    async with await driver.writer(path) as writer:
        await writer.write(content.encode())
        await writer.flush()
        print("flushed", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
