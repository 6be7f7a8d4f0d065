"""A network between two processes: forwards TCP connections from one port of this host to another.

Run as a process of its own (`python forwarder.py PORT TARGET_PORT [ADDRESS]`). Stopped by SIGSTOP it is a
partition: connections stay open, what is sent is taken, and nothing arrives until SIGCONT.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def forward(port: int, target: int, address: str = "127.0.0.1") -> None:
    """Forward every connection, in both directions, until the process ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))

    server = await asyncio.start_server(connected, address, port)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(forward(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
