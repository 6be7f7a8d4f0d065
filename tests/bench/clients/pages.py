"""GET requests whose answers may come in chunks: one connection, one request after the other."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

from bench.clients.work import Work, WrongAnswerError, percentiles


def get_once(address: tuple[str, int], path: str) -> bytes:
    """The body of an answer of 200; raises WrongAnswerError for another."""
    connection = http.client.HTTPConnection(*address, timeout=300)
    try:
        return _get(connection, path)
    finally:
        connection.close()


def get_again_and_again(
    address: tuple[str, int], paths: Iterator[str], *, seconds: float, body: bytes
) -> Work:
    """GET one path after the other for some seconds, and one at least; each answer has to be `body`."""
    taken: list[float] = []
    connection = http.client.HTTPConnection(*address, timeout=300)
    try:
        started = now = time.perf_counter()
        while not taken or now - started < seconds:
            path = next(paths)
            if _get(connection, path) != body:
                raise WrongAnswerError(f"GET {path}: not the answer that it was before")
            before, now = now, time.perf_counter()
            taken.append(now - before)
    finally:
        connection.close()
    return Work(len(taken), len(taken) * len(body), now - started, percentiles(taken))


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != http.client.OK:
        raise WrongAnswerError(f"GET {path}: {answer.status}: {body[:500]!r}")
    return body
