from __future__ import annotations

import json
import logging as standard_logging
import subprocess
import sys

import pytest

from moorage.logging import _quoted

# Logging is set up once for a process: each case is one.
SCRIPT = """
import sys, structlog, logging
from moorage import context, logging as ours
fields = {"environment": "test", "service": "registry"}
ours.configure(
    level=sys.argv[2], formatter=sys.argv[1], fields=fields, service="blob", report_caller=len(sys.argv) > 3
)
context.request_id.set("id-1")
log = structlog.get_logger("any")
log.debug("a debug line")
log.info("a line", name="x\\ny", quoted='say "hi"')
logging.getLogger("library").warning("from a %s", "library")
try:
    raise ValueError("broken")
except ValueError:
    log.exception("failed")
"""

REQUEST = """
import structlog
from moorage import context, logging as ours
ours.configure(level="info", formatter="json", fields={}, service="gateway")
context.request_id.set("id-1")
context.log_fields.set(lambda: {"http.request.method": "GET", "vars.name": "team/app"})
structlog.get_logger("any").critical("in a request", **{"http.request.method": "its own"})
"""


def lines_of(*arguments: str, script: str = SCRIPT) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments, *("info",)[len(arguments) - 1 :]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == ""
    return result.stderr.splitlines()


@pytest.mark.parametrize("formatter", ["json", "logstash"])
def test_each_line_is_one_json_object_with_the_context(formatter: str) -> None:
    lines = [json.loads(line) for line in lines_of(formatter)]
    text = "msg" if formatter == "json" else "message"
    assert [line[text] for line in lines] == ["a line", "from a library", "failed"]
    for line in lines:
        assert (line["component"], line["http.request.id"]) == ("blob", "id-1")
        assert (line["service"], line["environment"]) == ("registry", "test")
        assert line["instance.id"]
        assert line["time" if formatter == "json" else "@timestamp"].endswith("Z")
    assert lines[0]["name"] == "x\ny"
    assert "ValueError: broken" in lines[2]["exception"]


def test_a_value_of_a_text_line_cannot_start_a_line_of_its_own() -> None:
    first = lines_of("text")[0]
    assert 'msg="a line"' in first
    assert r'name="x\ny"' in first
    assert r"quoted=" in first
    assert len(lines_of("text")) == 3


def test_the_level_says_what_is_left_out() -> None:
    assert len(lines_of("text", "debug")) == 4
    assert len(lines_of("text", "error")) == 1


def test_this_process_keeps_its_own_logging() -> None:
    assert standard_logging.getLogger().level == standard_logging.WARNING


def test_the_caller_stands_in_each_line_when_asked_for() -> None:
    for line in lines_of("json", "info", "caller"):
        said = json.loads(line)
        if said["msg"] == "from a library":
            continue
        assert said["file"].startswith("<string>:")
        assert said["func"] == "<module>"
    assert "file" not in json.loads(lines_of("json")[0])


def test_lines_of_a_request_hold_what_is_known_of_it_and_a_panic_has_its_own_level() -> None:
    (line,) = (json.loads(each) for each in lines_of(script=REQUEST))
    assert line["level"] == "panic"
    assert (line["http.request.id"], line["vars.name"]) == ("id-1", "team/app")
    assert line["http.request.method"] == "its own"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        ("12.3\u00b5s", '"12.3\u00b5s"'),
        ("x\r\ny", r'"x\r\ny"'),
        ("\u202egnp", r'"\u202egnp"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\x1b[2Jb", r'"a\x1b[2Jb"'),
        ("\ud800", r'"\ud800"'),
    ],
)
def test_what_is_quoted_is_readable_and_does_nothing(value: str, written: str) -> None:
    assert _quoted(value) == written
