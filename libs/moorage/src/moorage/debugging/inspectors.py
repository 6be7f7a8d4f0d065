"""Which process of a service the debug listener asks: `?worker=N`.

A gateway of several processes has a parent, which has the listener, and workers, which serve. Without the
parameter the worker with the lowest number is asked: connections are spread evenly, so one is like another.
0 is the parent. `/debug/vars` without it shows all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from moorage.inspection import Answer, Question, answer
from moorage.inspection.questions import TOPICS, refusal
from moorage.workers import Roster

Inspector = Callable[[Question], Awaitable[Answer]]
"""Asks a process of the service, and answers."""

PPROF = "/debug/pprof/"

_ABOUT = {
    "cmdline": "the command line",
    "profile": "where the event loop's time goes: ?seconds=30&format=pprof (speedscope, html, text)",
    "heap": "what is allocated meanwhile and not freed: ?seconds=5&format=pprof (text)",
    "tasks": "the stacks of all asyncio tasks",
    "threads": "the stacks of all threads",
}


def index_page() -> bytes:
    """What there is below PPROF."""
    lines = [f"{PPROF}{topic:<8}  {_ABOUT[topic]}" for topic in TOPICS if topic in _ABOUT]
    return "\n".join([*lines, "", "?worker=N asks one process of several; 0 is their parent.", ""]).encode()


async def of_one_process(question: Question) -> Answer:
    """Ask this process, which is the only one: worker 1."""
    number = _number(question)
    if number not in (None, 0, 1):
        return refusal(404, "there is one process, and it is worker 1")
    return await answer(question)


def of_workers(roster: Roster) -> Inspector:
    """Ask the workers of which this process is the parent."""

    async def inspect(question: Question) -> Answer:
        numbers = roster.numbers
        number = _number(question)
        if number == 0:
            return await answer(question)
        if number is None and question.topic == "vars":
            return await _everyone(roster, numbers, question)
        if number is None and numbers:
            number = numbers[0]
        if number is None or number not in numbers:
            running = ", ".join(map(str, numbers)) or "none"
            return refusal(404, f"no such worker; those that run: {running}; 0 is their parent")
        found = await roster.inspect(number, question)
        return found or refusal(409, f"worker {number} has another question to answer, or has ended")

    return inspect


async def _everyone(roster: Roster, numbers: list[int], question: Question) -> Answer:
    """The parent's variables, with those of the workers in them; null for one that does not answer now."""
    theirs = await asyncio.gather(*(roster.inspect(number, question) for number in numbers))
    own = await answer(question)
    variables: dict[str, Any] = json.loads(own.body)
    variables["workers"] = {
        str(number): None if found is None else json.loads(found.body)
        for number, found in zip(numbers, theirs, strict=True)
    }
    return Answer(200, own.content_type, json.dumps(variables, indent=1).encode())


def _number(question: Question) -> int | None:
    """The worker that is asked for; -1 for what is no number."""
    text = question.parameters.get("worker")
    if text is None:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
