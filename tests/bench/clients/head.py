"""HEAD requests by one thread and epoll.

wrk cannot: it waits for the body that a HEAD's Content-Length promises.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Mapping

from bench.clients.work import Work, WrongAnswerError, percentiles


def head(
    address: tuple[str, int],
    path: str,
    *,
    connections: int,
    seconds: float,
    content_length: int,
    headers: Mapping[str, str] | None = None,
) -> Work:
    """HEAD `path` for some seconds, each connection one request after the other; every answer is checked."""
    lines = [f"HEAD {path} HTTP/1.1", f"Host: {address[0]}:{address[1]}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    length = f"\r\ncontent-length: {content_length}\r\n".encode()
    clock = time.perf_counter
    taken: list[float] = []
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    partial: dict[int, bytes] = {}
    with select.epoll() as poll:
        try:
            for _ in range(connections):
                connection = socket.create_connection(address, timeout=30)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
            started = clock()
            deadline = started + seconds
            for number, connection in sockets.items():
                sent[number] = clock()
                connection.sendall(request)
            while sent:
                ready = poll.poll(30)
                if not ready:
                    raise WrongAnswerError(f"HEAD {path}: no answer within 30 s")
                for number, _ in ready:
                    received = sockets[number].recv(65536)
                    answer = partial.pop(number, b"") + received
                    if received and not answer.endswith(b"\r\n\r\n"):
                        partial[number] = answer
                        continue
                    if not answer.startswith(b"HTTP/1.1 200 ") or length not in answer.lower():
                        raise WrongAnswerError(f"HEAD {path}: {answer[:500]!r}")
                    now = clock()
                    taken.append(now - sent.pop(number))
                    if now < deadline:
                        sent[number] = now
                        sockets[number].sendall(request)
            elapsed = clock() - started
        finally:
            for connection in sockets.values():
                connection.close()
    return Work(len(taken), 0, elapsed, percentiles(taken))
