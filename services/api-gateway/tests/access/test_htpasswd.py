"""Users in a file: who comes in, who does not, and at what cost."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import structlog
from prometheus_client import REGISTRY

from api_gateway.access import AccessRecord, ChallengeError, Grant
from api_gateway.access.htpasswd import passwords as passwords_module
from api_gateway.access.htpasswd.attempts import TooManyFailuresError
from api_gateway.access.htpasswd.controller import HTPasswdController, htpasswd_controller
from api_gateway.access.htpasswd.file import load_users, parse_users, provide
from api_gateway.access.htpasswd.passwords import Passwords, WrongPasswordError
from moorage.config import ConfigurationError
from moorage.config.auth import HTPasswd
from moorage.config.failures import Failures
from moorage.errors import ErrorCode, RegistryError
from support.clock import Clock

LIMITED = ("moorage_gateway_login_failures_total", {"reason": "too many failures"})
PULL = AccessRecord("repository", "team/app", "pull")


def hashed(password: str, prefix: bytes = b"2b") -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).replace(b"2b", prefix, 1).decode()


ANN = f"ann:{hashed('pässword')}\n"


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that passwords are compared with, from now on."""
    compared: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, against: bytes) -> bool:
        compared.append(against)
        return real(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return compared


@pytest.fixture
def passwords(clock: Clock) -> Any:
    passwords = Passwords(2, Failures(burst=1000), clock=clock)
    passwords.users = parse_users(ANN.encode())
    yield passwords
    passwords.close()


# The file


def test_a_file_has_a_user_on_each_line_and_the_last_counts() -> None:
    text = f"# users\n\n  {ANN}bob:{hashed('b', b'2y')}\r\nann:{hashed('new', b'2a')}\n"
    users = parse_users(text.encode())
    assert set(users.hashes) == {b"ann", b"bob"}
    assert users.hashes[b"ann"].startswith(b"$2a$")
    assert users.unusable == ()


@pytest.mark.parametrize("line", ["ann", "ann:", ":hash", "ann hash"])
def test_a_line_that_is_no_user_is_an_error_that_quotes_nothing(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2 is not 'user:hash'$"):
        parse_users(f"{ANN}{line}\n".encode())


@pytest.mark.parametrize(
    "given",
    [
        "$apr1$x$y",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "plain",
        "$2x$" + hashed("a")[4:],
        "$2b$31$" + hashed("a")[7:],
        "$2b$03$" + hashed("a")[7:],
        hashed("a")[:-1],
        hashed("a") + ":more",
    ],
    # A hash is another one in each process.
    ids=["apr1", "sha", "plain", "2x", "cost-31", "cost-3", "cut-off", "more"],
)
def test_only_bcrypt_of_a_bearable_cost_lets_a_user_in(given: str) -> None:
    users = parse_users(f"{ANN}bob:{given}\n".encode())
    assert set(users.hashes) == {b"ann"}
    assert users.unusable == ("bob",)


def test_nobody_costs_what_most_users_do() -> None:
    dear = "$2y$12$" + hashed("a")[7:]
    assert parse_users(f"a:{dear}\nb:{dear}\n{ANN}".encode()).nobody.startswith(b"$2b$12$")
    assert parse_users(b"").nobody.startswith(b"$2b$10$")


def test_a_file_that_is_not_there_is_made_for_one_user_with_a_random_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "htpasswd"
    with structlog.testing.capture_logs() as lines:
        provide(str(path))
        provide(str(path))
    (line,) = lines
    assert (line["log_level"], line["user"], len(line["password"])) == ("warning", "docker", 43)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["htpasswd"]
    assert bcrypt.checkpw(line["password"].encode(), load_users(str(path)).hashes[b"docker"])


def test_a_file_that_cannot_be_made_or_read_is_an_error_of_its_key(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^auth\.htpasswd\.path: .*/proc/none/htpasswd is not there"
    ):
        provide("/proc/none/htpasswd")
    with pytest.raises(ConfigurationError, match=r"^auth\.htpasswd\.path: .*: Is a directory$"):
        load_users(str(tmp_path))
    (tmp_path / "bad").write_text("nobody\n")
    with pytest.raises(ConfigurationError, match=r"^auth\.htpasswd\.path: .*/bad: line 1 is not"):
        load_users(str(tmp_path / "bad"))


# Passwords


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (basic("ann", "wrong"), "the password of user 'ann' is wrong"),
        (basic("ann", ""), "the password of user 'ann' is wrong"),
        (basic("ann", "pässword\0"), "the password of user 'ann' is wrong"),
        (basic("ann\r\nX: y", "pässword"), "no such user"),
        (basic("Ann", "pässword"), "no such user"),
        (basic("", "pässword"), "no such user"),
        (base64.b64encode(b"ann").decode(), "the credentials hold no password"),
        ("not base64!", "the credentials are not base64"),
        ("é", "the credentials are not base64"),
        ("", "the credentials hold no password"),
    ],
)
async def test_who_does_not_know_a_password_stays_out(passwords: Passwords, sent: str, reason: str) -> None:
    with pytest.raises(WrongPasswordError) as caught:
        await passwords.check(sent, "192.0.2.1")
    assert str(caught.value) == reason


async def test_the_password_may_hold_colons_and_be_longer_than_bcrypt_reads(passwords: Passwords) -> None:
    long = "x:" * 50
    passwords.users = parse_users(f"bob:{hashed(long[:72])}\n".encode())
    assert await passwords.check(basic("bob", long), "") == Grant("bob")


async def test_an_unknown_user_costs_as_much_as_a_known_one(
    passwords: Passwords, checks: list[bytes]
) -> None:
    for user in ("ann", "nobody"):
        with pytest.raises(WrongPasswordError):
            await passwords.check(basic(user, "guess"), "")
    known, unknown = checks
    assert known == passwords.users.hashes[b"ann"]
    # The same algorithm at the same cost.
    assert (unknown[:7], len(unknown)) == (known[:7], len(known))


async def test_a_right_password_is_checked_once_and_a_wrong_one_each_time(
    passwords: Passwords, checks: list[bytes]
) -> None:
    for _ in range(3):
        assert await passwords.check(basic("ann", "pässword"), "") == Grant("ann")
        with pytest.raises(WrongPasswordError):
            await passwords.check(basic("ann", "wrong"), "")
    assert len(checks) == 1 + 3


async def test_requests_at_a_time_with_one_password_are_one_check(
    passwords: Passwords, checks: list[bytes]
) -> None:
    together = [passwords.check(basic("ann", "pässword"), "") for _ in range(50)]
    assert await asyncio.gather(*together) == [Grant("ann")] * 50
    assert len(checks) == 1


async def test_what_was_right_is_forgotten_in_time(
    passwords: Passwords, clock: Clock, checks: list[bytes]
) -> None:
    await passwords.check(basic("ann", "pässword"), "")
    clock.now += 299
    await passwords.check(basic("ann", "pässword"), "")
    assert len(checks) == 1
    clock.now += 2
    await passwords.check(basic("ann", "pässword"), "")
    assert len(checks) == 2


async def test_a_new_hash_ends_what_was_right_before_it_and_leaves_others(
    passwords: Passwords, checks: list[bytes]
) -> None:
    passwords.users = parse_users(f"{ANN}bob:{hashed('b')}\n".encode())
    await passwords.check(basic("ann", "pässword"), "")
    await passwords.check(basic("bob", "b"), "")
    passwords.users = parse_users(f"{ANN}bob:{hashed('new')}\n".encode())
    await passwords.check(basic("ann", "pässword"), "")
    assert len(checks) == 2
    with pytest.raises(WrongPasswordError):
        await passwords.check(basic("bob", "b"), "")


async def test_a_user_who_goes_while_the_password_is_checked_stays_out(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def checkpw(password: bytes, against: bytes) -> bool:
        began.set()
        return go_on.wait(10)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    checking = asyncio.create_task(passwords.check(basic("ann", "pässword"), ""))
    assert await asyncio.to_thread(began.wait, 10)
    passwords.users = parse_users(b"")
    go_on.set()
    with pytest.raises(WrongPasswordError):
        await checking


async def test_what_is_remembered_is_bounded_and_holds_no_password(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords_module, "_REMEMBERED", 3)
    lines = "".join(f"user{number}:{hashed('p')}\n" for number in range(5))
    passwords.users = parse_users(lines.encode())
    for number in range(5):
        await passwords.check(basic(f"user{number}", "p"), "")
    assert len(passwords._successes) == 3
    assert "$2b$" not in repr(passwords._successes) + repr(passwords.users)


# Guesses


@pytest.fixture
def strict(clock: Clock) -> Any:
    """Passwords of which three wrong ones may be tried, and one more each minute."""
    passwords = Passwords(2, Failures(burst=3, interval="60s"), clock=clock)
    passwords.users = parse_users(ANN.encode())
    yield passwords
    passwords.close()


async def guess(passwords: Passwords, number: int, client: str = "192.0.2.1") -> None:
    with pytest.raises(WrongPasswordError):
        await passwords.check(basic("ann", f"guess {number}"), client)


async def test_after_some_wrong_passwords_the_right_one_waits_too(
    strict: Passwords, clock: Clock, checks: list[bytes]
) -> None:
    for number in range(3):
        await guess(strict, number)
    with pytest.raises(TooManyFailuresError) as caught:
        await strict.check(basic("ann", "pässword"), "192.0.2.1")
    assert caught.value.seconds == 60
    # Nothing was computed for it, and others do not wait.
    assert len(checks) == 3
    assert await strict.check(basic("ann", "pässword"), "192.0.2.2") == Grant("ann")
    clock.now += 60
    await guess(strict, 4)


async def test_who_came_in_before_does_not_wait_for_who_guesses(strict: Passwords, clock: Clock) -> None:
    await strict.check(basic("ann", "pässword"), "192.0.2.1")
    clock.now += 299
    for number in range(3):
        await guess(strict, number)
    assert await strict.check(basic("ann", "pässword"), "192.0.2.1") == Grant("ann")
    # Checked once more now, for what was remembered is too old.
    clock.now += 2
    assert await strict.check(basic("ann", "pässword"), "192.0.2.1") == Grant("ann")
    # Nor does that pay for another guess.
    with pytest.raises(TooManyFailuresError):
        await strict.check(basic("ann", "guess"), "192.0.2.1")


async def test_many_that_come_with_a_right_password_at_a_time_are_one_attempt(strict: Passwords) -> None:
    together = [strict.check(basic("ann", "pässword"), "192.0.2.1") for _ in range(50)]
    assert await asyncio.gather(*together) == [Grant("ann")] * 50


async def test_a_fleet_of_different_guesses_at_a_time_is_counted_before_it_ends(strict: Passwords) -> None:
    guesses = [strict.check(basic("ann", f"guess {number}"), "192.0.2.1") for number in range(20)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert [type(each) for each in results] == [WrongPasswordError] * 3 + [TooManyFailuresError] * 17


# The controller


async def test_who_guesses_is_told_when_to_try_again(request_with: Any, strict: Passwords) -> None:
    controller = HTPasswdController(HTPasswd(realm="r", path="/x"), strict)
    before = REGISTRY.get_sample_value(*LIMITED) or 0.0
    for number in range(3):
        await guess(strict, number)
    with pytest.raises(RegistryError) as caught:
        await controller.authorize(request_with(("Authorization", f"Basic {basic('ann', 'x')}")), [PULL])
    assert (caught.value.http_status, caught.value.code) == (429, ErrorCode.TOOMANYREQUESTS)
    assert caught.value.headers == [(b"retry-after", b"60")]
    assert REGISTRY.get_sample_value(*LIMITED) == before + 1


async def test_the_challenge_names_the_realm(request_with: Any, passwords: Passwords) -> None:
    controller = HTPasswdController(HTPasswd(realm="Registry Realm", path="/x"), passwords)
    for headers, reason in [
        ((), ""),
        ([("Authorization", "Bearer abc")], "another scheme than was asked for"),
        ([("Authorization", f"Basic {basic('ann', 'no')}")], "the password of user 'ann' is wrong"),
    ]:
        with pytest.raises(ChallengeError) as caught:
            await controller.authorize(request_with(*headers), [PULL])
        assert caught.value.headers == [(b"www-authenticate", b'Basic realm="Registry Realm"')]
        assert caught.value.reason == reason
    good = request_with(("Authorization", f"basic {basic('ann', 'pässword')}"))
    assert await controller.authorize(good, [PULL]) == Grant("ann")


async def test_bad_logins_from_one_place_do_not_stop_others(
    request_with: Any, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = HTPasswdController(HTPasswd(realm="r", path="/x"), passwords)
    real, go_on = bcrypt.checkpw, threading.Semaphore(0)
    order: list[bytes] = []

    def checkpw(password: bytes, against: bytes) -> bool:
        assert go_on.acquire(timeout=20)
        order.append(password)
        return real(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    bad = [
        asyncio.ensure_future(
            controller.authorize(request_with(("Authorization", f"Basic {basic('ann', str(n))}")), [PULL])
        )
        for n in range(200)
    ]
    await asyncio.sleep(0)
    good = asyncio.ensure_future(
        controller.authorize(
            request_with(("Authorization", f"Basic {basic('ann', 'pässword')}"), client="192.0.2.2"), [PULL]
        )
    )
    await asyncio.sleep(0)
    # The two that run, and those beyond what may wait, which were answered at once; then the turn of another.
    go_on.release(4)
    assert await asyncio.wait_for(good, 10) == Grant("ann")
    assert len(order) <= 4
    refused = [each.exception() for each in bad if each.done()]
    crowded = [error for error in refused if isinstance(error, RegistryError) and error.http_status == 429]
    assert len(crowded) == 200 - 64 - 2
    assert crowded[0].code is ErrorCode.TOOMANYREQUESTS
    assert crowded[0].headers == [(b"retry-after", b"1")]
    go_on.release(200)
    results = await asyncio.gather(*bad, return_exceptions=True)
    assert all(isinstance(result, RegistryError) for result in results)


async def test_the_file_is_read_again_when_it_changes(
    request_with: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_gateway.access.reloading.INTERVAL", 0.01)
    path = tmp_path / "htpasswd"
    path.write_text(ANN)
    ann = ("Authorization", f"Basic {basic('ann', 'pässword')}")
    bob = ("Authorization", f"Basic {basic('bob', 'b')}")

    async def comes_in(controller: HTPasswdController, header: tuple[str, str]) -> bool:
        try:
            await controller.authorize(request_with(header), [PULL])
        except ChallengeError:
            return False
        return True

    async def until(controller: HTPasswdController, header: tuple[str, str], wanted: bool) -> None:
        async with asyncio.timeout(10):
            while await comes_in(controller, header) != wanted:
                await asyncio.sleep(0.01)

    async with htpasswd_controller(HTPasswd(realm="r", path=str(path)), 1) as controller:
        assert await comes_in(controller, ann)
        assert not await comes_in(controller, bob)
        path.write_text(f"bob:{hashed('b')}\n")
        await until(controller, bob, True)
        assert not await comes_in(controller, ann)
        # A file that cannot be read changes nothing, until it can be again.
        path.unlink()
        await asyncio.sleep(0.05)
        assert await comes_in(controller, bob)
        path.write_text("")
        await until(controller, bob, False)
