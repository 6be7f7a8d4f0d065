from __future__ import annotations

import json
import logging as standard_logging
import subprocess
import sys

import pytest

# Logging is set up once for a process: each case is one.
SCRIPT = """
import sys, structlog, logging
from moorage import context, logging as ours
fields = {"environment": "test", "service": "registry"}
ours.configure(level=sys.argv[2], formatter=sys.argv[1], fields=fields, service="blob")
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


def lines_of(formatter: str, level: str = "info") -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, formatter, level], capture_output=True, text=True, check=True
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
