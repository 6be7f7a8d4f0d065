"""How slow a peer may be."""

from __future__ import annotations

from moorage.pace import MinimumRate


def test_who_moves_enough_on_average_keeps_up_however_unevenly() -> None:
    pace = MinimumRate(100, 10.0).pace()
    assert all(pace.keeps_up(1.0, 1000 if second % 10 == 0 else 0) for second in range(100))


def test_who_trickles_is_too_slow_when_a_window_is_over_and_not_before() -> None:
    pace = MinimumRate(100, 10.0).pace()
    assert [pace.keeps_up(1.0, 99) for _ in range(10)] == [True] * 9 + [False]


def test_a_good_window_does_not_excuse_the_next_one() -> None:
    pace = MinimumRate(100, 10.0).pace()
    assert pace.keeps_up(10.0, 1_000_000)
    assert not pace.keeps_up(10.0, 999)


def test_time_that_was_not_spent_waiting_does_not_count() -> None:
    pace = MinimumRate(100, 10.0).pace()
    assert all(pace.keeps_up(0.0, 1) for _ in range(1000))


def test_no_rate_is_no_limit() -> None:
    pace = MinimumRate(0, 10.0).pace()
    assert all(pace.keeps_up(100.0, 0) for _ in range(10))
