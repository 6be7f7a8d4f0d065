"""`log.hooks` of type `mail` against real SMTP servers: what is sent, and what is not waited for."""

from __future__ import annotations

import gc
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from prometheus_client import REGISTRY

from moorage.config import ConfigurationError, parse
from moorage.loghooks import HOOK_KEY, LogHook, configured_hooks
from support.processes import free_port
from support.smtp import PASSWORD, smtp_server, tarpit


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def roots(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def document(port: int, levels: tuple[str, ...] = ("panic",), **options: Any) -> str:
    smtp = {"addr": f"127.0.0.1:{port}", **options.pop("smtp", {})}
    hook = {
        "type": "mail",
        "levels": list(levels),
        "options": {
            "smtp": smtp,
            "from": "registry@example.org",
            "to": ["ops@example.org", "night@example.org"],
            **options,
        },
    }
    return yaml.safe_dump({"version": 0.1, "storage": "inmemory", "log": {"hooks": [hook]}})


@contextmanager
def hook(port: int, levels: tuple[str, ...] = ("panic",), **options: Any) -> Iterator[LogHook]:
    (made,) = configured_hooks(parse(document(port, levels, **options), {}).log.hooks)
    try:
        yield made
    finally:
        made.close(1)


def line(text: str = "it broke", level: str = "panic", **fields: Any) -> dict[str, Any]:
    return {"time": "2026-01-02T03:04:05Z", "level": level, "event": text, **fields}


def mails(result: str) -> float:
    return REGISTRY.get_sample_value("moorage_log_mails_total", {"result": result}) or 0.0


def until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_line_of_its_levels_becomes_a_mail_with_all_its_fields() -> None:
    port = free_port()
    with smtp_server(port) as box, hook(port, ("panic", "error")) as made:
        made.take(line("no mail of this", level="warning"))
        made.take(
            line(level="error", exception="Traceback\n  File x\nValueError: y", **{"vars.name": "team/app"})
        )
        message = box.next()
        assert message["Subject"].startswith("[error] ")
        assert message["Subject"].endswith(": it broke")
        assert (message["From"], message["To"]) == (
            "registry@example.org",
            "ops@example.org, night@example.org",
        )
        assert message["Auto-Submitted"] == "auto-generated"
        body = message.get_content()
        assert "vars.name: team/app" in body
        assert "  ValueError: y" in body
        assert box.envelopes[0].rcpt_tos == ["ops@example.org", "night@example.org"]
        assert box.messages.empty()


@pytest.mark.parametrize("evil", ["x\r\nBcc: thief@example.com", "x\n.\nMAIL FROM:<a@b>", "x\x00\x0b\u2028y"])
def test_nothing_of_a_line_reaches_a_header_or_a_line_of_its_own(evil: str) -> None:
    port = free_port()
    with smtp_server(port) as box, hook(port) as made:
        made.take(line(f"broke {evil}", **{"http.request.useragent": evil, f"evil {evil}": "value"}))
        message = box.next()
    assert message["Bcc"] is None
    assert len(message["Subject"].splitlines()) == 1
    assert box.envelopes[0].mail_from == "registry@example.org"
    for each in message.get_content().splitlines():
        assert not each.startswith(("Bcc", ".", "MAIL", "y"))


def test_credentials_are_given_to_a_server_on_this_host() -> None:
    port = free_port()
    login = {"username": "reporter", "password": PASSWORD}
    with smtp_server(port, auth=True) as box, hook(port, smtp=login) as made:
        made.take(line())
        box.next()
    assert box.logins[-1] == ("reporter", PASSWORD)


def test_wrong_credentials_fail_the_mail_and_their_password_is_not_logged(
    capfd: pytest.CaptureFixture[str],
) -> None:
    port, failed = free_port(), mails("failed")
    login = {"username": "reporter", "password": "wrong-and-secret"}
    with smtp_server(port, auth=True), hook(port, smtp=login) as made:
        made.take(line())
        until(lambda: mails("failed") == failed + 1)
    said = "".join(capfd.readouterr())
    assert "could not be mailed" in said
    assert "wrong-and-secret" not in said


def test_starttls_is_used_where_the_server_offers_it(server_tls: ssl.SSLContext, roots: str) -> None:
    port = free_port()
    with smtp_server(port, starttls=server_tls) as box, hook(port, smtp={"rootcas": roots}) as made:
        made.take(line())
        box.next()
    assert box.encrypted == [True]


def test_tls_from_the_first_byte(server_tls: ssl.SSLContext, roots: str) -> None:
    port = free_port()
    smtp = {"tls": "implicit", "rootcas": [roots]}
    with smtp_server(port, implicit=server_tls) as box, hook(port, smtp=smtp) as made:
        made.take(line())
        box.next()


def test_a_connection_is_gone_with_its_mail_however_long_the_server_keeps_it(
    server_tls: ssl.SSLContext, roots: str
) -> None:
    port = free_port()
    with smtp_server(port, starttls=server_tls, linger=1) as box, hook(port, smtp={"rootcas": roots}) as made:
        made.take(line())
        box.next()
        made.close(20)
        # A connection that was left open would be told of here.
        gc.collect()


def test_a_certificate_that_nobody_knows_is_refused_unless_insecure(server_tls: ssl.SSLContext) -> None:
    port, failed = free_port(), mails("failed")
    with smtp_server(port, starttls=server_tls) as box:
        with hook(port) as made:
            made.take(line())
            until(lambda: mails("failed") == failed + 1)
        assert box.messages.empty()
        with hook(port, smtp={"insecure": True}) as made:
            made.take(line())
            box.next()


def test_starttls_that_is_demanded_and_not_offered_fails_the_mail() -> None:
    port, failed = free_port(), mails("failed")
    with smtp_server(port) as box, hook(port, smtp={"tls": "starttls"}) as made:
        made.take(line())
        until(lambda: mails("failed") == failed + 1)
        assert box.messages.empty()


def test_a_server_that_is_down_holds_up_nobody_and_the_next_mail_arrives() -> None:
    port, failed = free_port(), mails("failed")
    with hook(port) as made:
        started = time.monotonic()
        made.take(line("lost"))
        assert time.monotonic() - started < 0.2
        until(lambda: mails("failed") == failed + 1)
        with smtp_server(port) as box:
            made.take(line("back"))
            assert box.next()["Subject"].endswith(": back")


def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    port, failed = free_port(), mails("failed")
    with tarpit(port), hook(port, timeout="300ms") as made:
        started = time.monotonic()
        made.take(line())
        assert time.monotonic() - started < 0.2
        until(lambda: mails("failed") == failed + 1)
        assert time.monotonic() - started < 5


def test_a_server_that_says_nothing_does_not_hold_up_the_end() -> None:
    port = free_port()
    with tarpit(port) as held, hook(port) as made:
        for _ in range(5):
            made.take(line())
        until(lambda: held)
        started = time.monotonic()
        made.close(0.3)
        assert time.monotonic() - started < 2


def test_more_than_the_rate_is_counted_and_told_with_the_next_mail() -> None:
    port, now = free_port(), [100.0]
    suppressed = mails("suppressed")
    with smtp_server(port) as box, hook(port, rate=2) as made:
        made._clock = lambda: now[0]  # type: ignore[attr-defined]
        for number in range(7):
            made.take(line(f"line {number}"))
        assert [box.next()["Subject"][-1] for _ in range(2)] == ["0", "1"]
        assert mails("suppressed") == suppressed + 5
        now[0] += 61
        made.take(line("after a minute"))
        assert "5 lines before this one were not mailed" in box.next().get_content()
        made.take(line("one more"))
        assert "not mailed" not in box.next().get_content()


def test_the_end_waits_for_what_is_on_its_way() -> None:
    port = free_port()
    with smtp_server(port) as box, hook(port) as made:
        for number in range(5):
            made.take(line(f"line {number}"))
        made.close(20)
        assert box.messages.qsize() == 5
        made.take(line("too late"))
        made.close(1)
        assert box.messages.qsize() == 5


# Logging is set up once for a process: so a process of its own, which fails to send and logs that.
SCRIPT = """
import sys, structlog
from moorage import logging
from moorage.config import parse
from moorage.loghooks import configured_hooks
config = parse(sys.stdin.read(), {})
hooks = configured_hooks(config.log.hooks)
logging.configure(level="debug", formatter="text", fields={}, service="blob", hooks=hooks)
log = structlog.get_logger("any")
log.warning("a warning")
try:
    raise ZeroDivisionError("of a test")
except ZeroDivisionError:
    log.critical("unexpected", exc_info=True)
logging.close(10)
"""


def run(text: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=text, capture_output=True, text=True, check=True, timeout=60
    )
    return result.stderr.splitlines()


def test_a_panic_is_logged_at_its_own_level_and_mailed_with_its_traceback() -> None:
    port = free_port()
    with smtp_server(port) as box:
        lines = run(document(port))
        message = box.next()
    assert [each.split()[1] for each in lines] == ["level=warning", "level=panic"]
    assert message["Subject"].startswith("[panic] ")
    body = message.get_content()
    assert "ZeroDivisionError: of a test" in body
    assert "component: blob" in body


def test_a_hook_that_fails_says_so_once_and_does_not_mail_about_it() -> None:
    lines = run(document(free_port(), ("panic", "error", "warning", "info", "debug")))
    assert len([each for each in lines if "could not be mailed" in each]) == 2
    assert all(HOOK_KEY in each for each in lines if "could not be mailed" in each)
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"type": "sms"}, "log.hooks[0].type: unknown type of hook 'sms'; known are mail"),
        ({"levels": ["loud"]}, "log.hooks[0].levels[0]: must be one of panic, fatal, error"),
        ({"levels": []}, "log.hooks[0].levels: is required"),
        ({"options": {}}, "log.hooks[0].options.smtp.addr: is required"),
        ({"options.from": None}, "log.hooks[0].options.from: is required"),
        ({"options.to": []}, "log.hooks[0].options.to: is required"),
        ({"options.to": ["a@b\nBcc: c@d"]}, "log.hooks[0].options.to[0]: not a mail address"),
        ({"options.from": "nobody"}, "log.hooks[0].options.from: not a mail address: 'nobody'"),
        ({"options.smtp.addr": "mail"}, "log.hooks[0].options.smtp.addr: not host:port: 'mail'"),
        ({"options.smtp.addr": "mail:0"}, "log.hooks[0].options.smtp.addr: must name a port"),
        ({"options.smtp.tls": "ssl"}, "log.hooks[0].options.smtp.tls: must be one of auto, starttls"),
        ({"options.smtp.password": "x"}, "log.hooks[0].options.smtp.username: is required where"),
        ({"options.rate": 0}, "log.hooks[0].options.rate: must be at least 1"),
        ({"options.timeout": 0}, "log.hooks[0].options.timeout: must be more than zero"),
        ({"options.smpt": {}}, "log.hooks[0].options.smpt: unknown key, did you mean 'smtp'?"),
    ],
)
def test_a_mistake_refuses_to_start_and_names_its_key(change: dict[str, Any], sentence: str) -> None:
    tree = yaml.safe_load(document(25))
    for key, value in change.items():
        node = tree["log"]["hooks"][0]
        *steps, last = key.split(".")
        for step in steps:
            node = node[step]
        node[last] = value
    with pytest.raises(ConfigurationError) as caught:
        parse(yaml.safe_dump(tree), {})
    assert any(str(problem).startswith(sentence) for problem in caught.value.problems), caught.value.problems


def test_a_disabled_hook_may_be_anything_known(tmp_path: Path) -> None:
    tree = yaml.safe_load(document(25))
    tree["log"]["hooks"][0] |= {"disabled": True, "type": "sms", "options": {}}
    assert configured_hooks(parse(yaml.safe_dump(tree), {}).log.hooks) == []


def test_certificates_that_cannot_be_read_are_told_by_their_key(tmp_path: Path) -> None:
    config = parse(document(25, smtp={"rootcas": [str(tmp_path / "none.pem")]}), {})
    with pytest.raises(ConfigurationError, match=r"^log\.hooks\[0\]\.options\.smtp\.rootcas\[0\]: "):
        configured_hooks(config.log.hooks)


def test_the_password_is_in_no_repr() -> None:
    config = parse(document(25, smtp={"username": "u", "password": PASSWORD}), {})
    assert PASSWORD not in repr(config)


def test_port_465_begins_with_tls() -> None:
    modes = {port: parse(document(port), {}).log.hooks[0].options.smtp.mode for port in (25, 465, 587)}
    assert modes == {25: "auto", 465: "implicit", 587: "auto"}
