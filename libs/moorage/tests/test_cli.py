"""The `moorage` command as an operator meets it: real processes, their output and their status."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from moorage import __version__

Run = Callable[..., subprocess.CompletedProcess[str]]
GOOD = "version: 0.1\nstorage: inmemory\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without an operator's variables."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "MOORAGE_"))
    }
    return {**kept, "HOME": str(tmp_path / "home"), "COLUMNS": "200", "NO_COLOR": "1"}


@pytest.fixture
def moorage(environment: dict[str, str]) -> Run:
    """Runs the command to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "moorage", *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def registry(environment: dict[str, str]) -> Run:
    """Runs distribution's command to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("registry"), *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def notifier(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `moorage serve notifier`, which needs no broker to run."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str = GOOD, **variables: str) -> subprocess.Popen[str]:
        config = tmp_path / "config.yml"
        config.write_text(text)
        address = {
            "REGISTRY_SERVICES_NOTIFIER_ADDR": f"unix://{tmp_path}/notifier.sock",
            "REGISTRY_SERVICES_NATS_URL": "nats://127.0.0.1:1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "moorage", "serve", "notifier", "-c", str(config)],
            env=environment | address | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until_it_listens(path: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on {path}")


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_one_line(moorage: Run, arguments: list[str]) -> None:
    result = moorage(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(rf"moorage {re.escape(__version__)}(\+[0-9A-Za-z._-]+)?\n", result.stdout)


def test_help_names_every_verb(moorage: Run) -> None:
    result = moorage("--help")
    assert result.returncode == 0
    for verb in ("serve", "up", "config", "version"):
        assert f" {verb} " in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["serve"], ["serve", "nonsense"], ["serve", "blob", "--wrong"], ["up", "extra"]],
)
def test_a_wrong_command_line_is_status_2_without_a_traceback(moorage: Run, arguments: list[str]) -> None:
    result = moorage(*arguments)
    assert result.returncode == 2
    assert "Usage: moorage" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_service_that_is_not_there_is_told_with_those_that_are(moorage: Run) -> None:
    assert "installed: blob, gateway, metadata, notifier" in moorage("serve", "nonsense").stderr


def test_a_good_configuration_checks_ok(moorage: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(GOOD)
    for result in (
        moorage("config", "check", "-c", str(config)),
        moorage("config", "check", REGISTRY_CONFIGURATION_PATH=str(config)),
        moorage("config", "check"),
    ):
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.endswith("\nconfiguration ok\n")


def test_what_is_odd_in_a_good_configuration_is_told(moorage: Run) -> None:
    result = moorage("config", "check", REGISTRY_STORGE_INMEMORY="x")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "configuration ok")
    assert result.stderr.startswith(
        "moorage: warning: REGISTRY_STORGE_INMEMORY: unknown environment variable"
    )


def test_a_bad_configuration_is_a_line_for_each_error_and_status_1(moorage: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorage: inmemory\nauth:\n  htpasswd:\n    path: /x\nhttp:\n  adr: x\n")
    result = moorage("config", "check", "-c", str(config))
    assert (result.returncode, result.stdout) == (1, "")
    auth, http = result.stderr.splitlines()
    assert auth == "moorage: auth.htpasswd.realm: is required"
    assert http == "moorage: http.adr: unknown key, did you mean 'addr'?"


def test_what_a_configuration_comes_to_is_yaml_or_json_without_its_secrets(moorage: Run, tmp_path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        GOOD + "http: {secret: hush-hush, draintimeout: 90s}\n"
        "redis: {addr: 'localhost:6379', password: hush-hush}\n"
        "services: {nats: {url: 'nats://user:hush-hush@localhost:4222'}}\n"
    )
    plain = moorage("config", "check", str(config))
    as_json = moorage("config", "check", "-c", str(config), "--json")
    assert "hush-hush" not in plain.stdout + plain.stderr + as_json.stdout + as_json.stderr
    read = yaml.safe_load(plain.stdout.removesuffix("configuration ok\n"))
    answer = json.loads(as_json.stdout)
    assert answer["ok"] is True
    assert answer["warnings"] == ["redis: not used, as storage.cache.blobdescriptor is not redis"]
    assert answer["configuration"] == read
    assert (read["http"]["draintimeout"], read["http"]["secret"]) == ("1m30s", "***")
    assert read["services"]["nats"]["url"] == "nats://***@localhost:4222"
    assert moorage("config", "check", "-q", str(config)).stdout == "configuration ok\n"


def test_the_errors_of_a_configuration_as_json(moorage: Run) -> None:
    result = moorage("config", "check", "--json", REGISTRY_HTTP_DRAINTIMEOUT="soon")
    assert result.returncode == 1
    problems = [{"key": "http.draintimeout", "message": "not a duration: 'soon'"}]
    assert json.loads(result.stdout) == {"ok": False, "problems": problems}


def test_the_version_as_json(moorage: Run) -> None:
    facts = json.loads(moorage("version", "--json").stdout)
    assert facts["version"] == __version__
    assert set(facts) == {"version", "revision", "python", "platform"}


def test_the_shell_completes(moorage: Run) -> None:
    result = moorage(
        _MOORAGE_COMPLETE="complete_bash", COMP_WORDS="moorage con", COMP_CWORD="1", SHELL="/bin/bash"
    )
    assert result.stdout.split() == ["config"]


@pytest.mark.parametrize("arguments", [["--version"], ["-v"]])
def test_distribution_s_command_says_its_version(registry: Run, arguments: list[str]) -> None:
    result = registry(*arguments)
    assert result.returncode == 0
    assert result.stdout.startswith(f"registry moorage {__version__}")


def test_distribution_s_command_serves_a_configuration(registry: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorage: inmemory\nlog:\n  level: loud\n")
    for result in (
        registry("serve", str(config)),
        registry("serve", REGISTRY_CONFIGURATION_PATH=str(config)),
    ):
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("moorage: log.level: ")
    assert registry("serve", "a", "b").returncode == 2


def test_distribution_s_command_collects_garbage_and_a_terminal_sees_how_far_it_is(
    environment: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n")
    ours, theirs = pty.openpty()
    variables = {
        "MOORAGE_DATA_DIR": str(tmp_path / "data"),
        "REGISTRY_SERVICES_METADATA_ADDR": f"unix://{tmp_path}/nobody.sock",
        "TERM": "xterm",
    }
    process = subprocess.Popen(
        [Path(sys.executable).with_name("registry"), "garbage-collect", "--dry-run", config],
        env={name: value for name, value in environment.items() if name != "NO_COLOR"} | variables,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    drawn = bytearray()

    def draw() -> None:
        with contextlib.suppress(OSError):  # how the other end of a terminal closes
            while piece := os.read(ours, 4096):
                drawn.extend(piece)

    reader = threading.Thread(target=draw)
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join()
    os.close(ours)
    assert process.returncode == 0, drawn.decode()
    assert "0 blobs marked, 0 blobs and 0 manifests eligible for deletion" in out
    assert "collecting garbage" not in out
    assert "collecting garbage" in drawn.decode()


@pytest.mark.parametrize("verb", [["serve", "notifier"], ["serve", "blob"], ["up"]])
def test_nothing_starts_on_a_bad_configuration(moorage: Run, tmp_path: Path, verb: list[str]) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorage: inmemory\nlog:\n  level: loud\n")
    result = moorage(*verb, "-c", str(config))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("moorage: log.level: ")
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_told_in_one_line(moorage: Run) -> None:
    result = moorage("serve", "notifier", "-c", "/nonexistent/config.yml")
    assert result.returncode == 2
    assert result.stderr == "moorage: /nonexistent/config.yml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_serves_until_a_signal_and_drains(notifier, tmp_path: Path, number: signal.Signals) -> None:
    process = notifier()
    until_it_listens(tmp_path / "notifier.sock")
    process.send_signal(number)
    assert process.wait(timeout=20) == 0
    assert not (tmp_path / "notifier.sock").exists()


def test_an_address_that_cannot_be_had_is_one_line_and_status_1(notifier, tmp_path: Path) -> None:
    (tmp_path / "notifier.sock").write_text("somebody's file")
    process = notifier()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == f"moorage: {tmp_path}/notifier.sock is in the way: it is not a socket\n"


def test_logs_are_as_configured_and_warnings_stand_in_them(notifier, tmp_path: Path) -> None:
    process = notifier(GOOD + "log:\n  formatter: json\n  fields:\n    site: ham\n", REGISTRY_NONSENSE="1")
    until_it_listens(tmp_path / "notifier.sock")
    process.terminate()
    _, errors = process.communicate(timeout=20)
    warning = errors.splitlines()[0]
    assert warning.startswith("{")
    assert '"site": "ham"' in warning
    assert '"component": "notifier"' in warning
    assert "REGISTRY_NONSENSE: unknown environment variable" in warning


def test_a_supervised_service_ends_when_its_parent_is_killed(environment, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(GOOD)
    script = (
        "import os, subprocess, sys\n"
        "environment = dict(os.environ, MOORAGE_SUPERVISED=str(os.getpid()))\n"
        f"command = [sys.executable, '-m', 'moorage', 'serve', 'notifier', '-c', {str(config)!r}]\n"
        "subprocess.Popen(command, env=environment, start_new_session=True).wait()\n"
    )
    address = {"REGISTRY_SERVICES_NOTIFIER_ADDR": f"unix://{tmp_path}/notifier.sock"}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment | address, stderr=subprocess.DEVNULL
    )
    until_it_listens(tmp_path / "notifier.sock")
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while (tmp_path / "notifier.sock").exists():
        assert time.monotonic() < deadline, "the orphan still runs"
        time.sleep(0.02)
