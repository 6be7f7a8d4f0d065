"""A webhook's subscriber in a process of its own, which writes down what it is given before it says so.

`python recorder.py PORT FILE` appends a line of JSON for each event: its id, action, repository, digest and
tag. Killed at any moment, it has in FILE all that it has answered 200 to.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.subscriber import Request, Subscriber, answer


@dataclass(frozen=True)
class Heard:
    """An event as it was given."""

    id: str
    action: str
    repository: str
    digest: str
    tag: str


def heard(path: Path) -> list[Heard]:
    """What a recorder has written, in order; a last line that was cut off by its end was not answered."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [Heard(*json.loads(line)) for line in lines if line]


async def record(port: int, path: Path) -> None:
    """Answer until the process ends."""
    ok = answer(200)
    subscriber = Subscriber()
    subscriber.port = port
    with path.open("ab", buffering=0) as file:
        # Whatever a predecessor was about to write when it was killed ends here.
        file.write(b"\n")

        async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
            for event in request.events:
                target = event["target"]
                fields = (event["id"], event["action"], target["repository"])
                line = json.dumps([*fields, target.get("digest", ""), target.get("tag", "")])
                file.write(line.encode() + b"\n")
            subscriber.requests.clear()
            await ok(request, writer)

        subscriber.behave = behave
        await subscriber.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(record(int(sys.argv[1]), Path(sys.argv[2])))
