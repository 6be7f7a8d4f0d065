"""What a process can be asked about itself, and its answers: as HTTP has them, but between processes too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from moorage.inspection import expvars, stacks

log = structlog.get_logger("moorage.inspection")

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"

# Seconds of a profile: unless somebody says, and at most.
_CPU_SECONDS = 30.0
_HEAP_SECONDS = 5.0
MOST_SECONDS = 120.0

TOPICS = ("vars", "cmdline", "profile", "heap", "tasks", "threads")

# A process that is being profiled is not profiled twice: each would see the other.
_profiling = asyncio.Lock()


@dataclass(frozen=True, slots=True)
class Question:
    """One of TOPICS, with the parameters of the query."""

    topic: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def packed(self) -> bytes:
        """The question as bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpacked(cls, content: bytes) -> Question:
        """The question in these bytes."""
        fields: Any = json.loads(content)
        return cls(fields["topic"], fields["parameters"])


@dataclass(frozen=True, slots=True)
class Answer:
    """What HTTP answers; `name` is what a file of it is called, if it is one to keep."""

    status: int
    content_type: str
    body: bytes
    name: str = ""

    def packed(self) -> bytes:
        """The answer as bytes."""
        head = json.dumps([self.status, self.content_type, self.name]).encode()
        return head + b"\n" + self.body

    @classmethod
    def unpacked(cls, content: bytes) -> Answer:
        """The answer in these bytes."""
        head, _, body = content.partition(b"\n")
        status, content_type, name = json.loads(head)
        return cls(status, content_type, body, name)


def refusal(status: int, sentence: str) -> Answer:
    """An answer that says why there is none."""
    return Answer(status, TEXT, f"{sentence}\n".encode())


async def answer(question: Question) -> Answer:
    """Answer a question about this process; it always has an answer."""
    try:
        return await _answered(question)
    except Exception:
        # Whoever looks into a process must not break it, nor wait for ever.
        log.exception("a question about this process broke", topic=question.topic)
        return refusal(500, "the question broke; the log of this process says how")


async def _answered(question: Question) -> Answer:
    match question.topic:
        case "vars":
            body = json.dumps(expvars.variables(), indent=1, default=str).encode()
            return Answer(200, JSON, body)
        case "cmdline":
            return Answer(200, TEXT, "\0".join(expvars.cmdline()).encode())
        case "tasks":
            return Answer(200, TEXT, stacks.tasks().encode())
        case "threads":
            return Answer(200, TEXT, stacks.threads().encode())
        case "profile" | "heap":
            return await _profiled(question)
    return refusal(404, f"nothing is known about that; ask for one of {', '.join(TOPICS)}")


async def _profiled(question: Question) -> Answer:
    is_heap = question.topic == "heap"
    forms = ("pprof", "text") if is_heap else ("pprof", "speedscope", "html", "text")
    # Go's tools ask for text by `debug=1`.
    plain = question.parameters.get("debug", "0") != "0"
    form = question.parameters.get("format", "text" if plain else "pprof")
    if form not in forms:
        return refusal(400, f"format must be one of {', '.join(forms)}")
    seconds = _seconds(question.parameters.get("seconds"), _HEAP_SECONDS if is_heap else _CPU_SECONDS)
    if seconds is None:
        return refusal(400, f"seconds must be a number above 0, and at most {MOST_SECONDS:g}")
    if _profiling.locked():
        return refusal(409, "another profile is being taken; try again when it has ended")
    async with _profiling:
        # Not before they are needed: a profiler is a lot of code.
        from moorage.inspection import cpu, heap

        content_type, body = await (heap if is_heap else cpu).profile(seconds, form)
    suffix = {"pprof": "pb.gz", "speedscope": "speedscope.json"}.get(form, "")
    return Answer(200, content_type, body, f"{question.topic}.{suffix}" if suffix else "")


def _seconds(text: str | None, default: float) -> float | None:
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds <= MOST_SECONDS else None
