"""Opens a writer, writes, says so, and holds it until it is killed.

hold_writer.py DRIVER PARAMETERS PATH CONTENT, with the driver's section of the configuration in JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import structlog

from blob_service.drivers import factory


async def main(name: str, parameters: str, path: str, content: str) -> None:
    # What it says on standard output is for the test.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    driver = factory.create(name, json.loads(parameters))
    async with await driver.writer(path) as writer:
        await writer.write(content.encode())
        await writer.flush()
        print("flushed", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
