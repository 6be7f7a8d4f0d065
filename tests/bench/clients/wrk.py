"""GET requests by wrk: C, an event loop, keep-alive."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.clients.work import Work, WrongAnswerError
from support.processes import required, run

# Called by wrk at the end of a run; times are microseconds.
_SUMMARY = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nSUMMARY {"requests": %d, "bytes": %d, "microseconds": %d, "p50": %d, "p99": %d, '
    .. '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""
# Requests in turn for a path in which a number stands, as a format of Lua's and of C's.
_NUMBERED = """
local number = -1
request = function()
  number = (number + 1) %% %d
  return wrk.format(nil, string.format(wrk.path, number))
end
"""
_ERRORS = ("connect", "read", "write", "status", "timeout")


def summary_in(output: str) -> dict[str, int]:
    """The summary that the script above printed."""
    line = next(line for line in output.splitlines() if line.startswith("SUMMARY "))
    summary: dict[str, int] = json.loads(line.removeprefix("SUMMARY "))
    return summary


def work_in(summary: Mapping[str, int], body_length: int) -> Work:
    """The work of a run, checked: no error, no status of 400 or more, no body that is too short.

    wrk counts bytes of all answers together, heads included.
    """
    errors = {name: summary[name] for name in _ERRORS if summary[name]}
    if errors or not summary["requests"]:
        raise WrongAnswerError(f"wrk: {summary['requests']} requests, errors: {errors}")
    if summary["bytes"] < summary["requests"] * body_length:
        raise WrongAnswerError(
            f"wrk read {summary['bytes']} bytes in {summary['requests']} answers of {body_length}"
        )
    return Work(
        requests=summary["requests"],
        bytes=summary["requests"] * body_length,
        seconds=summary["microseconds"] / 1e6,
        latency_ms={"p50": summary["p50"] / 1e3, "p99": summary["p99"] / 1e3},
    )


def get(
    url: str,
    *,
    connections: int,
    seconds: int,
    body_length: int,
    headers: Mapping[str, str] | None = None,
    numbers: int = 0,
) -> Work:
    """GET `url` for some seconds, each connection one request after the other.

    With `numbers`, the path of `url` holds a format such as %06d: it is asked for with 0, 1, 2 and so on, and
    after so many with 0 again.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SUMMARY)
        if numbers:
            script.write(_NUMBERED % numbers)
        script.flush()
        options = [part for name, value in (headers or {}).items() for part in ("-H", f"{name}: {value}")]
        output = run(
            required("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s",
            "-s", Path(script.name), *options, url,
            timeout=seconds + 60,
        )  # fmt: skip
    return work_in(summary_in(output), body_length)
