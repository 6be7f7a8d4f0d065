from __future__ import annotations

import pytest

from api_gateway.access.htpasswd import attempts as attempts_module
from api_gateway.access.htpasswd.attempts import Attempts, Buckets, TooManyFailuresError
from support.clock import Clock

ADDRESS = "192.0.2.1"


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(3, 10.0, clock)


def wait(attempts: Attempts, address: str, account: str) -> int:
    """The seconds that an attempt has to wait; 0 when it was made."""
    try:
        attempts.begin(address, account)
    except TooManyFailuresError as error:
        return error.seconds
    return 0


def test_after_a_few_wrong_passwords_a_client_waits(attempts: Attempts, clock: Clock) -> None:
    assert [wait(attempts, ADDRESS, "ada") for _ in range(4)] == [0, 0, 0, 10]
    clock.now += 4
    assert wait(attempts, ADDRESS, "ada") == 6
    clock.now += 6
    assert [wait(attempts, ADDRESS, "ada") for _ in range(2)] == [0, 10]
    clock.now += 1000
    assert [wait(attempts, ADDRESS, "ada") for _ in range(4)] == [0, 0, 0, 10]


def test_other_accounts_and_other_clients_do_not_wait_for_it(attempts: Attempts) -> None:
    for _ in range(4):
        wait(attempts, ADDRESS, "ada")
    assert wait(attempts, ADDRESS, "grace") == 0
    assert wait(attempts, "192.0.2.2", "ada") == 0


def test_right_passwords_cost_nothing(attempts: Attempts) -> None:
    for _ in range(100):
        assert wait(attempts, ADDRESS, "ada") == 0
        attempts.give_back(ADDRESS, "ada")


def test_many_accounts_from_one_address_are_one_client(attempts: Attempts) -> None:
    waits = [wait(attempts, ADDRESS, f"user{number}") for number in range(16)]
    assert waits[:15] == [0] * 15
    assert waits[15] > 0
    assert wait(attempts, "192.0.2.2", "user1") == 0


def test_an_ipv6_client_has_a_network_of_addresses(attempts: Attempts) -> None:
    waits = [wait(attempts, f"2001:db8::{number:x}", "ada") for number in range(1, 5)]
    assert waits == [0, 0, 0, 10]
    assert wait(attempts, "2001:db8:0:1::1", "ada") == 0


def test_clients_that_a_listener_for_ipv6_sees_as_mapped_are_not_one(attempts: Attempts) -> None:
    waits = [wait(attempts, "::ffff:192.0.2.1", "ada") for _ in range(4)]
    assert waits == [0, 0, 0, 10]
    assert wait(attempts, "192.0.2.1", "ada") == 10
    assert wait(attempts, "::ffff:192.0.2.2", "ada") == 0


def test_attempts_at_the_same_time_are_counted_before_they_end(attempts: Attempts) -> None:
    begun = [wait(attempts, ADDRESS, "ada") for _ in range(10)]
    assert begun.count(0) == 3


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch, clock: Clock) -> None:
    monkeypatch.setattr(attempts_module, "MOST_BUCKETS", 100)
    buckets = Buckets(3, 10.0, clock)
    for number in range(1000):
        buckets.change(f"key {number}", -1)
    assert len(buckets) == 100
    for number in range(900, 1000):
        buckets.change(f"key {number}", 1)
    assert len(buckets) == 0
