"""Many clients at once that push or pull blobs, each over a connection of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import urlsplit

from bench.clients.connection import Connection
from bench.clients.work import Work, WrongAnswerError, percentiles
from bench.content import Blob

Job = TypeVar("Job")


def push_blob(connection: Connection, repository: str, blob: Blob) -> None:
    """POST, PATCH in chunks, PUT, as docker does; the registry says that it has the digest."""
    push_content(connection, repository, blob.digest, blob.send_chunked)


def push_content(
    connection: Connection, repository: str, digest: str, send_chunked: Callable[[socket.socket], None]
) -> None:
    """Push what `send_chunked` sends; raises WrongAnswerError when the registry does not confirm `digest`."""
    uploads = f"/v2/{repository}/blobs/uploads/"
    location = connection.request("POST", uploads, expect=202).headers["location"]
    answer = connection.request(
        "PATCH",
        _path(location),
        expect=202,
        headers={"Content-Type": "application/octet-stream"},
        send_body=send_chunked,
    )
    path = _path(answer.headers["location"])
    separator = "&" if "?" in path else "?"
    answer = connection.request("PUT", f"{path}{separator}digest={digest}", expect=201)
    if answer.headers.get("docker-content-digest") != digest:
        raise WrongAnswerError(f"PUT {path}: {answer.headers}, not {digest}")


def push(address: tuple[str, int], repository: str, blobs: Sequence[Blob], *, clients: int) -> Work:
    """Push blobs, so many at once."""
    seconds, taken = at_once(
        address, blobs, clients, lambda connection, blob: push_blob(connection, repository, blob)
    )
    return Work(len(blobs), sum(blob.size for blob in blobs), seconds, percentiles(taken))


def pull(
    address: tuple[str, int], repository: str, digest: str, size: int, *, times: int, clients: int
) -> Work:
    """Pull one blob so many times, by so many clients at once."""
    path = f"/v2/{repository}/blobs/{digest}"
    seconds, taken = at_once(
        address, range(times), clients, lambda connection, _: connection.get_and_discard(path, size)
    )
    return Work(times, times * size, seconds, percentiles(taken))


def at_once(
    address: tuple[str, int], jobs: Sequence[Job], clients: int, do: Callable[[Connection, Job], object]
) -> tuple[float, list[float]]:
    """Do the jobs by `clients` threads, each with one connection; the first error is raised at the end.

    Gives the seconds that all took together, and those of each.
    """
    queue = iter(jobs)  # `next` of a sequence's iterator is atomic

    def client() -> list[float]:
        taken = []
        with Connection(address) as connection:
            for job in queue:
                started = time.perf_counter()
                do(connection, job)
                taken.append(time.perf_counter() - started)
        return taken

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        taken = [seconds for future in running for seconds in future.result()]
    return time.perf_counter() - started, taken


def _path(location: str) -> str:
    """The path and query of a Location, which may be a whole URL."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
